"""The digest of gradient chunks: BLAKE3, by which wrong bytes are told from right ones.

Neighbours: `client.gradients` declares the digest of every chunk, the server compares what it
received. BLAKE3 is as strong as SHA-256 and takes two fifths of its time, even where the processor
has SHA instructions: every byte of every gradient is digested twice, and with SHA-256 that was
the largest part of an upload. Weight versions keep SHA-256, which any tool can check.
"""

from collections.abc import Iterable

from blake3 import blake3

ALGORITHM = "blake3"
"""Its name on the wire: both sides must mean the same."""

Digest = blake3
"""A running digest, with `update` and `hexdigest` as in hashlib. Its `update` releases the GIL."""


def digest_of(buffers: Iterable[bytes | memoryview]) -> str:
    """Return the digest of all buffers, one after the other, as 64 hexadecimal digits."""
    running = Digest()
    for buffer in buffers:
        running.update(buffer)
    return running.hexdigest()


def identity_of(digests: Iterable[str]) -> str:
    """Return the digest over the hexadecimal digests of a body's chunks, in order."""
    return digest_of(digest.encode() for digest in digests)
