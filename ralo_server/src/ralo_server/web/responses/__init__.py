"""What clients get: JSON, files and ranges, problem documents, Prometheus text."""
