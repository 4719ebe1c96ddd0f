"""Mutate pickles by their operations, and the files of PyTorch that hold them."""

from __future__ import annotations

import io
import itertools
import pickletools
import struct
from random import Random

from mutate_containers import change_zip
from mutate_values import change_bytes, change_json, integer, text

NASTY = (
    *(b"cbuiltins\nbytearray\n\x8a\x05\x00\x00\x00\x00\x01\x85R", b"cos\nsystem\n", b"ccollections\nOrderedDict\n"),
    *(b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n", b"ctorch\nTensor\n", b"ctorch\nSize\n"),
    *(b"ctorch._utils\n_rebuild_parameter\n", b"ctorch._tensor\n_rebuild_from_type_v2\n", b"ctorch\ndevice\n"),
    *(b")" + b"2\x86" * 40, b"2\x86" * 30, b"\x96" + struct.pack("<Q", 2**40), b"\x8a\xff" + b"\x7f" * 255),
    *(b"R", b"b", b".", b"(", b"t", b"l", b"d", b"\x85", b"\x86", b"\x87", b"2", b"0", b"1", b"}", b"]", b")", b"\x8f"),
    *(
        b"s",
        b"u",
        b"a",
        b"e",
        b"\x90",
        b"\x91",
        b"Q",
        b"\x93",
        b"\x81",
        b"\x92",
        b"N",
        b"\x88",
        b"\x94",
        b"\x97",
        b"\x98",
    ),
    *(b"q\xff", b"r\xff\xff\xff\xff", b"h\x00", b"h\x01", b"j\x00\x00\x00\x7f", b"\x95" + struct.pack("<Q", 2**62)),
    *(b"P0\n", b"p4294967295\n", b"g0\n", b"I99999999999999999999\n", b"Fnan\n", b"L1L\n", b"S'a'\n", b"\x82\x01"),
)
"""Pieces of pickles, most of one operation."""


def operations(data: bytes) -> list[bytes]:
    """Cut a pickle into the bytes of its operations."""
    starts = [start for _, _, start in pickletools.genops(data) if start is not None]
    return [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]


def change_pickle(rng: Random, data: bytes) -> bytes:
    """Mutate a pickle: drop, double, swap, insert operations, or change what one holds."""
    try:
        parts = operations(data)
    except Exception:
        return change_bytes(rng, data)
    if rng.random() < 0.1:
        return change_bytes(rng, data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at, other = rng.randrange(len(parts)), rng.randrange(len(parts))
        kind = rng.randrange(8)
        if kind == 0 and len(parts) > 2:
            del parts[at]
        elif kind == 1:
            parts.insert(other, parts[at])
        elif kind == 2:
            parts[at], parts[other] = parts[other], parts[at]
        elif kind == 3:
            parts.insert(at, rng.choice(NASTY))
        elif kind == 4:
            parts[at:at] = parts[other : other + rng.choice((2, 5, 20))]
        else:
            parts[at] = _change_operation(rng, parts[at])
    return b"".join(parts)


def _change_operation(rng: Random, part: bytes) -> bytes:
    code, rest = part[:1], part[1:]
    value = integer(rng)
    if code in (b"K", b"M", b"J") or (code == b"\x8a" and rng.random() < 0.5):
        wide = (value % 2**63).to_bytes(8, "little")
        return rng.choice((b"J" + struct.pack("<i", value % 2**31), b"\x8a\x08" + wide, b"K\x00", b"J\xff\xff\xff\xff"))
    if code in (b"X", b"\x8c"):
        held = rest[4:] if code == b"X" else rest[1:]
        if held.startswith(b"{"):
            held = change_json(rng, held)
        elif rng.random() < 0.6:
            held = text(rng).encode(errors="surrogatepass")
        else:
            held = change_bytes(rng, held)
        return b"X" + struct.pack("<I", len(held)) + held
    if code == b"c":
        return rng.choice([piece for piece in NASTY if piece.startswith(b"c")])
    return change_bytes(rng, part)


def change_torch(rng: Random, data: bytes) -> bytes:
    """Mutate a file of torch.save: the pickle in the archive, another entry, the archive."""

    def change(rng: Random, name: str, held: bytes) -> bytes:
        if name.endswith("data.pkl"):
            return change_pickle(rng, held)
        return change_json(rng, held) if name.endswith(".json") else change_bytes(rng, held)

    return change_zip(rng, data, change, "data.pkl")


def change_legacy(rng: Random, data: bytes) -> bytes:
    """Mutate a file of the format before torch 1.6: one of its five pickles, or the storages."""
    file, ends = io.BytesIO(data), [0]
    try:
        for _ in range(5):
            for _ in pickletools.genops(file):
                pass
            ends.append(file.tell())
    except Exception:
        return change_bytes(rng, data)
    parts = [data[a:b] for a, b in itertools.pairwise(ends)]
    at = rng.choice((0, 1, 2, 3, 3, 3, 3, 3, 4, 4))
    parts[at] = change_pickle(rng, parts[at])
    rest = data[ends[-1] :]
    return b"".join(parts) + (change_bytes(rng, rest) if rng.random() < 0.2 else rest)
