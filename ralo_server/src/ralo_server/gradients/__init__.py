"""Uploaded gradients as files: received in chunks, checked once, read slice by slice."""
