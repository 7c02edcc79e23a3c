"""Files that all distributions read and write: whole or not there, hashed, tensors by place."""
