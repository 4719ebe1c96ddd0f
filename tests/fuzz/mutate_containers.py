"""Mutate safetensors files, zip archives, and the headers of .npy files."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable
from random import Random

from mutate_values import change_bytes, change_json, integer, text

Change = Callable[[Random, str, bytes], bytes]


def change_safetensors(rng: Random, data: bytes) -> bytes:
    """Mutate the header as JSON, the note within it, the length, or the numbers."""
    length = int.from_bytes(data[:8], "little")
    header, numbers = data[8 : 8 + length], data[8 + length :]
    kind = rng.randrange(6)
    if kind < 2:
        header = change_json(rng, header)
    elif kind == 2:
        tree = json.loads(header)
        note = tree.get("__metadata__", {}).get("convgru")
        if note is None:
            header = change_json(rng, header)
        else:
            tree["__metadata__"]["convgru"] = change_json(rng, note.encode()).decode(errors="replace")
            header = json.dumps(tree).encode()
    elif kind == 3:
        tree = json.loads(header)
        entries = [entry for name, entry in tree.items() if name != "__metadata__"]
        one, other = rng.choice(entries), rng.choice(entries)
        field = rng.choice(("data_offsets", "shape", "dtype"))
        one[field], other[field] = other[field], one[field]
        if rng.random() < 0.5:
            one["data_offsets"] = [integer(rng), integer(rng)]
        header = json.dumps(tree).encode()
    elif kind == 4:
        numbers = change_bytes(rng, numbers)
    else:
        return change_bytes(rng, data)
    if rng.random() < 0.5:
        header += b" " * (-len(header) % 8)
    length = len(header) if rng.random() < 0.95 else integer(rng) % 2**64
    return length.to_bytes(8, "little") + header + numbers


FIELDS = {
    b"PK\x03\x04": ((4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)),
    b"PK\x01\x02": ((6, 2), (8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (38, 4), (42, 4)),
    b"PK\x05\x06": ((4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)),
    b"PK\x06\x06": ((4, 8), (12, 2), (24, 8), (32, 8), (40, 8), (48, 8)),
    b"PK\x06\x07": ((4, 4), (8, 8), (16, 4)),
}
"""Where the fields of a zip archive's records are, and how wide."""


def change_zip(rng: Random, data: bytes, change: Change, chosen: str = "") -> bytes:
    """Mutate one entry's contents, the list of entries, or the records of the archive.

    ``change`` mutates an entry; one whose name ends with ``chosen`` is preferred.
    """
    if rng.random() < 0.25:
        return _change_records(rng, data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = [(info.filename, archive.read(info)) for info in archive.infolist()]
    preferred = [i for i, (name, _) in enumerate(entries) if chosen and name.endswith(chosen)]
    at = rng.choice(preferred) if preferred and rng.random() < 0.75 else rng.randrange(len(entries))
    kind = rng.random()
    if kind < 0.85:
        name, held = entries[at]
        entries[at] = (name, change(rng, name, held))
    elif kind < 0.9:
        entries[at] = (text(rng)[:60000] or "x", entries[at][1])
    elif kind < 0.94:
        del entries[at]
    elif kind < 0.97:
        entries.append((rng.choice(entries)[0].upper(), entries[at][1]))
    else:
        entries.append((text(rng)[:60000] or "x", bytes(rng.choice((0, 10, 10**6)))))
    how = rng.choice(
        (zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, held in entries:
            info = zipfile.ZipInfo(name.encode(errors="replace").decode())
            info.compress_type = how
            archive.writestr(info, held)
    return buffer.getvalue()


def _change_records(rng: Random, data: bytes) -> bytes:
    if rng.random() < 0.2:
        junk = bytes(rng.choice((1, 22, 100)))
        return junk + data if rng.random() < 0.5 else data + rng.choice((junk, data))
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        mark = rng.choice(list(FIELDS))
        starts = [i for i in range(len(data)) if data.startswith(mark, i)]
        if not starts:
            continue
        start = rng.choice(starts)
        offset, width = rng.choice(FIELDS[mark])
        old = int.from_bytes(out[start + offset : start + offset + width], "little")
        value = rng.choice((old + 1, old - 1, old * 2, integer(rng), len(data), 0, 2 ** (8 * width) - 1))
        out[start + offset : start + offset + width] = (value % 2 ** (8 * width)).to_bytes(width, "little")
    return bytes(out) if bytes(out) != data else change_bytes(rng, data)


def change_npy(rng: Random, name: str, data: bytes) -> bytes:
    """Mutate an array of NumPy's: its header's text, its version, its numbers."""
    if not data.startswith(b"\x93NUMPY") or rng.random() < 0.15:
        return change_bytes(rng, data)
    (length,) = struct.unpack("<H", data[8:10])
    header, numbers = data[10 : 10 + length], data[10 + length :]
    kind = rng.randrange(5)
    if kind == 0:
        header = change_bytes(rng, header)
    elif kind == 1:
        shapes = (
            b"(1,)",
            b"()",
            b"(0, 5)",
            b"(-1, 4)",
            b"(2**60,)",
            b"(4294967296, 4294967296)",
            b"[3]",
            b"(1L,)",
            b"((1,),)",
        )
        start, end = header.find(b"(") % (length + 1), header.find(b")") + 1
        header = header[:start] + rng.choice(shapes) + header[end:]
    elif kind == 2:
        types = (
            b"'<f4'",
            b"'|O'",
            b"'>f8'",
            b"'<U9'",
            b"'V2'",
            b"'V0'",
            b"[('a', '<f4')]",
            b"('<f4', (10**9,))",
            b"'<c8'",
            b"'f2'",
            b"'M8'",
        )
        header = header.replace(b"'<f4'", rng.choice(types)).replace(b"'<f8'", rng.choice(types))
    elif kind == 3:
        tricks = (
            b"(" * 3 + header,
            b"[" * 9000,
            header * 3,
            b"{" + header,
            header.replace(b"'", b'"""', 1),
            b"\xff" + header,
        )
        header = rng.choice(tricks)
    else:
        numbers = change_bytes(rng, numbers)
    length = len(header) if rng.random() < 0.9 else integer(rng)
    version = rng.choice((b"\x01\x00",) * 8 + (b"\x02\x00", b"\x03\x00", b"\x09\x09"))
    wide = version != b"\x01\x00"
    return (
        b"\x93NUMPY"
        + version
        + struct.pack("<I" if wide else "<H", length % 2 ** (32 if wide else 16))
        + header
        + numbers
    )
