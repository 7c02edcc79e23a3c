"""Stage 4: what a trainer exchanges with the orchestrator: batches, weights, gradients."""
