"""A file that is written, hashed and synced by other threads than the one that makes it."""

import hashlib
import os

import pytest

from ralo_core.files import hashed_file
from ralo_core.files.hashed_file import write_hashed


def in_two_buffers(blocks):
    """Yield `blocks` of one size from two buffers in turn."""
    buffers = [bytearray(len(blocks[0])), bytearray(len(blocks[0]))]
    for number, block in enumerate(blocks):
        buffers[number % 2][:] = block
        yield memoryview(buffers[number % 2])


@pytest.mark.parametrize("sync_bytes", [1, 5000, 1 << 26])
def test_the_file_is_the_blocks_and_the_digest_is_that_of_the_file(
    tmp_path, monkeypatch, sync_bytes
):
    monkeypatch.setattr(hashed_file, "_SYNC_BYTES", sync_bytes)
    blocks = [os.urandom(70_000) for _ in range(20)]
    digest = write_hashed(tmp_path / "file", in_two_buffers(blocks))
    assert (tmp_path / "file").read_bytes() == b"".join(blocks)
    assert digest == hashlib.sha256(b"".join(blocks)).hexdigest()


@pytest.mark.parametrize("blocks", [1, 50])
def test_a_disk_that_fails_while_it_is_written_to_is_an_error(tmp_path, monkeypatch, blocks):
    """The system tells of a failed write once: who asks again later hears nothing of it."""

    def broken(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(hashed_file, "_SYNC_BYTES", 0)
    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output"):
        write_hashed(tmp_path / "file", map(memoryview, [b"x" * 100] * blocks))
