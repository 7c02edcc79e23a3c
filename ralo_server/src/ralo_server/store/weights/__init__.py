"""Published weight versions, the files they consist of, and who is fetching them."""
