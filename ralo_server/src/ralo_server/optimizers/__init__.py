"""Optimizers: settings in, a torch optimizer over slices of the master weights out."""
