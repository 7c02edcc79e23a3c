"""A run on this machine, and what commands ask of a run anywhere; see `local` for the flow."""
