"""From master weights to a published version: files, deltas, manifest, object store."""
