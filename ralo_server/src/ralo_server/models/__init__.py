"""Model directories and weight versions as files; no torch."""
