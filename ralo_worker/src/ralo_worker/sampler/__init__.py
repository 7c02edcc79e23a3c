"""The sampler: leases problems, grows rollout trees on an engine, scores and uploads them."""
