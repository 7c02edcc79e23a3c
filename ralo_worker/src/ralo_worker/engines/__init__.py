"""Inference engines: each satisfies `ralo_core.protocols.InferenceEngine`."""
