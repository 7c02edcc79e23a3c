"""What a trainer exchanges with the orchestrator while it computes: batches, weights, gradients."""
