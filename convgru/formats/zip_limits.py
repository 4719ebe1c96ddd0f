"""Zip archives from a stranger: no entry twice, and no more in them than the file's size warrants."""

from __future__ import annotations

import zipfile

FLOOR = 64 << 20
RATIO = 16
"""Weights are noise to a compressor: sixteen times its size in memory is generous, and 64 MiB hurt nobody."""


def room(size: int) -> int:
    """How many bytes a compressed file of ``size`` bytes may hold."""
    return max(FLOOR, RATIO * size)


def check(archive: zipfile.ZipFile, size: int, *, compressed: bool = True) -> None:
    """Raise ValueError for an entry that stands there twice, is a link or encrypted, or if the whole is larger than it may be.

    ``size`` is the file's; where an archive is never compressed, its entries together may not take more.
    """
    entries = archive.infolist()
    if len({info.filename for info in entries}) != len(entries):
        raise ValueError("an entry stands there twice")
    for info in entries:
        if info.flag_bits & 0x1:
            raise ValueError(f"expected entries without a password, got {info.filename[:80]!r}")
        if not compressed and info.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"expected entries that are not compressed, got {info.filename[:80]!r}")
    total, most = sum(info.file_size for info in entries), room(size) if compressed else size
    if total > most:
        raise ValueError(f"expected at most {most} bytes in a file of {size}, got {total}: a zip bomb")
