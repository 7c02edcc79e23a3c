"""The digest of gradient chunks, against the vectors that BLAKE3's authors published."""

import pytest

from ralo_core.files.digests import digest_of

VECTORS = {
    0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    1024: "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
    1025: "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444",
}
"""Digest by length; the input is 0, 1, ... 250, 0, 1, ..."""


@pytest.mark.parametrize("length", VECTORS)
@pytest.mark.parametrize("step", [1, 100, 2000])
def test_it_is_blake3_however_the_bytes_are_cut(length, step):
    data = memoryview(bytes(i % 251 for i in range(length)))
    assert digest_of(data[at : at + step] for at in range(0, length, step)) == VECTORS[length]
