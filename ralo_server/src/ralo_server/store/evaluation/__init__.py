"""Benchmarks that are asked of versions: their items, the evaluations, and the shards that samplers
lease."""
