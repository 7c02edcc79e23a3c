"""The exact difference between two weight versions: small, lossless, read and made in slices.

`ulps` turns a change into a step in units in the last place, `gaps` positions into bytes,
`blocks` picks the smallest encoding of a slice, `files` keeps the blocks of every tensor in a
safetensors file. The learner makes such files, workers apply them.
"""

from ralo_core.deltas.blocks import Block, BlockCodec, Encoding
from ralo_core.deltas.files import DeltaFile, DeltaHeader, DeltaWriter, TensorChange

__all__ = [
    "Block",
    "BlockCodec",
    "DeltaFile",
    "DeltaHeader",
    "DeltaWriter",
    "Encoding",
    "TensorChange",
]
