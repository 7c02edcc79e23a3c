"""The gradient of a batch: forward, loss, backward, accumulated."""
