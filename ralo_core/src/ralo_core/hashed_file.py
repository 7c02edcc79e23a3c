"""Writes a file front to back and hashes it on the way, beside the work that makes its content.

Neighbours: the learner writes weights and deltas with it, workers the weights that they make of a
delta. It knows nothing of what it writes.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path


def write_hashed(
    path: Path,
    blocks: Iterable[memoryview],
    seen: Callable[[memoryview], None] | None = None,
) -> str:
    """Write `blocks` to `path` and return the sha256 of the file in hexadecimal.

    A block is written by a second thread while the next is made, and shown to `seen` there: it
    must stay as it is until the one after the next is asked for, so two buffers in turn are
    enough.
    """
    digest = hashlib.sha256()
    with path.open("wb", buffering=0) as file, ThreadPoolExecutor(1) as thread:

        def put(block: memoryview) -> None:
            left = block
            while left:
                left = left[file.write(left) :]
            digest.update(block)
            if seen is not None:
                seen(block)

        under_way: deque[Future[None]] = deque()
        for block in blocks:
            under_way.append(thread.submit(put, block))
            if len(under_way) > 1:
                under_way.popleft().result()
        for last in under_way:
            last.result()
    return digest.hexdigest()
