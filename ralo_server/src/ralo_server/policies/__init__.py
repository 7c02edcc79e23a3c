"""Built-in aggregation and optimizer policies; they run in the learner."""
