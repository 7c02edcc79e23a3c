"""Corrections for rollouts of other policies; each satisfies `ralo_core.protocols.Correction`."""
