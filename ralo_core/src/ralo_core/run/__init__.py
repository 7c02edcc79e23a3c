"""``ralo run``: one machine's whole training, supervised and shown; see `local` for the flow."""
