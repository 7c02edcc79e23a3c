"""One optimizer step: aggregated gradient, files written, metrics, times."""
