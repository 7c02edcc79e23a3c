"""From rollout trees to padded micro-batches: rows, packs, forests."""
