"""Limits on untrusted zip archives: no duplicate entries, bounded unpacked size."""

from __future__ import annotations

import zipfile

FLOOR = 64 << 20
RATIO = 16
"""Weights hardly compress: sixteen times the size of the file is generous, and 64 MiB are harmless.
"""


def room(size: int) -> int:
    """Return how many bytes a compressed file of ``size`` bytes may unpack to."""
    return max(FLOOR, RATIO * size)


def check(archive: zipfile.ZipFile, size: int, *, compressed: bool = True) -> None:
    """Raise ValueError for duplicate or encrypted entries, or too large an unpacked size.

    ``size`` is that of the file; with ``compressed=False`` the entries may not be compressed and
    may not take more.
    """
    entries = archive.infolist()
    if len({info.filename for info in entries}) != len(entries):
        raise ValueError("an entry is there twice")
    for info in entries:
        if info.flag_bits & 0x1:
            raise ValueError(f"expected entries without a password, got {info.filename[:80]!r}")
        if not compressed and info.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"expected entries that are not compressed, got {info.filename[:80]!r}")
    total, limit = sum(info.file_size for info in entries), room(size) if compressed else size
    if total > limit:
        raise ValueError(f"expected at most {limit} bytes in a file of {size}, got {total}: a zip bomb")
