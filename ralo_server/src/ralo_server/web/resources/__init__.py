"""One resource class per noun of the protocol; they translate between HTTP and the store."""
