"""Losses that recipes share; each satisfies `ralo_core.protocols.Loss`."""
