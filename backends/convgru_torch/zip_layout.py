"""Accept only zip archives in which Python's zipfile and torch's reader see the same entries.

The two find the directory, and entries by name, in different ways: a file could show the guard one
pickle and torch another. torch.save lays an archive out in one way, and that is the only one that
is accepted: entries, directory, end records, and not a byte before, between or after.
"""

from __future__ import annotations

import struct
import zipfile
from typing import BinaryIO, NamedTuple

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")


class _Directory(NamedTuple):
    """The directory as the records at the end of the file describe it."""

    entries: int
    length: int
    offset: int
    end: int
    """Where the records themselves begin."""


def check(file: BinaryIO, archive: zipfile.ZipFile, size: int) -> None:
    """Raise ValueError unless the archive, a file of ``size`` bytes, has torch's own layout."""
    entries = archive.infolist()
    directory = _directory(file, size)
    if (directory.offset, directory.entries) != (archive.start_dir, len(entries)):
        raise ValueError("expected a zip archive with one directory, got several")
    if directory.offset + directory.length != directory.end:
        raise ValueError("expected nothing between the directory of a zip archive and its end")
    # torch looks for names without regard to case.
    if len({info.filename.lower() for info in entries}) != len(entries):
        raise ValueError("an entry is there twice, but for the case of its letters")
    for info in entries:
        if not info.orig_filename.isascii() or info.orig_filename != info.filename:
            raise ValueError(f"expected names of ASCII letters, got {info.orig_filename[:80]!r}")
        if info.external_attr & 0xFFFF or info.filename.endswith("/"):
            # For what is marked as a folder torch's reader leaves the memory as it was.
            raise ValueError(f"expected files in a zip archive, got a folder: {info.filename[:80]!r}")
        if info.compress_size != info.file_size:
            raise ValueError(f"{info.filename[:80]} expected {info.file_size} bytes, got {info.compress_size}")


def _directory(file: BinaryIO, size: int) -> _Directory:
    """Read the records in the last bytes of the file, where alone they may be."""
    end = size - _END.size
    mark, disk, first, here, count, length, offset, comment = _END.unpack(_read(file, end, _END.size))
    if mark != b"PK\x05\x06" or comment or (disk, first) != (0, 0) or here != count:
        raise ValueError("expected a zip archive that ends with its directory")
    wide = end - _LOCATOR.size
    locator = _LOCATOR.unpack(_read(file, wide, _LOCATOR.size)) if wide >= 0 else (b"",)
    if locator[0] != b"PK\x06\x07":
        return _Directory(count, length, offset, end)
    start = wide - _END_64.size
    if locator[1:] != (0, start, 1) or start < 0:
        raise ValueError("expected the end of a zip archive in one piece")
    mark, rest, _, _, *disks, here, count_64, length_64, offset_64 = _END_64.unpack(_read(file, start, _END_64.size))
    if mark != b"PK\x06\x06" or rest != _END_64.size - 12 or disks != [0, 0] or here != count_64:
        raise ValueError("expected the end of a zip archive in one piece")
    limits = ((count, count_64, 0xFFFF), (length, length_64, 0xFFFFFFFF), (offset, offset_64, 0xFFFFFFFF))
    if any(short not in (long, most) for short, long, most in limits):
        raise ValueError("expected a zip archive with one directory, got several")
    return _Directory(count_64, length_64, offset_64, start)


def _read(file: BinaryIO, offset: int, length: int) -> bytes:
    if offset < 0:
        raise ValueError("expected a zip archive, got fewer bytes than its end takes")
    file.seek(offset)
    return file.read(length)
