"""The scaling law of a run: what a metric comes to as a function of the compute spent."""
