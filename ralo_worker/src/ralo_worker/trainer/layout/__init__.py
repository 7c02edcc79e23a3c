"""Stage 1: from rollout trees to sequences and padded micro-batches."""
