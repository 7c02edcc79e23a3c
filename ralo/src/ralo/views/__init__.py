"""What a person sees of a run in the terminal: panels, tables, curves, one sentence of advice."""
