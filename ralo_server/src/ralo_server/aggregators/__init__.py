"""Aggregators: how the gradients of a step become one."""
