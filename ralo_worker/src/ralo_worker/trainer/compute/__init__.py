"""Stage 2: micro-batches through the policy, and the sums of their gradients."""
