"""What is known and kept of sampled trees: their summaries, which are skipped, which stay after
their step."""
