"""The scaling law of a run: a metric as a function of the compute spent."""
