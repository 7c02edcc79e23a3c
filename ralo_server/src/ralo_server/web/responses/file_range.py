"""A stretch of an open file, for gunicorn to send with sendfile, or in blocks where it cannot."""

from collections.abc import Iterator
from typing import IO

BLOCK = 1 << 20


class FileRange:
    """`length` bytes of `file` from `start` on; a file-like object that ends there."""

    def __init__(self, file: IO[bytes], start: int, length: int) -> None:
        self._file = file
        self._left = length
        file.seek(start)

    def fileno(self) -> int:
        """Return the descriptor; its position is where the stretch begins."""
        return self._file.fileno()

    def read(self, size: int | None = None, /) -> bytes:
        """Return the next bytes of the stretch, at most `size` of them (None: all)."""
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        block = self._file.read(wanted)
        self._left -= len(block)
        return block

    def blocks(self) -> Iterator[bytes]:
        """Yield what is left in blocks of 1 MiB, then close the file."""
        with self._file:
            while block := self.read(BLOCK):
                yield block

    def close(self) -> None:
        """Close the file."""
        self._file.close()
