"""Rewards that need more than numpy."""
