"""Mutate MindSpore's protobuf checkpoints, and Flax's msgpack files."""

from __future__ import annotations

import json
import zlib
from random import Random
from typing import Any

from mutate_values import change_bytes, change_json, change_tree, integer, text


def _varint(value: int) -> bytes:
    value %= 2**64
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _parse(data: bytes, depth: int = 0) -> list[list[Any]] | None:
    """Return the fields of a protobuf message as [number, wire type, value]; None if it is none."""
    fields: list[list[Any]] = []
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    try:
        while at < len(data):
            key = varint()
            kind = key & 7
            if kind == 0:
                value: Any = varint()
            elif kind in (1, 5):
                value = data[at : at + (8 if kind == 1 else 4)]
                at += len(value)
            elif kind == 2 and key >> 3:
                length = varint()
                value = data[at : at + length]
                if len(value) != length:
                    return None
                at += length
                inner = _parse(value, depth + 1) if depth < 2 and value[:1] in b"\x08\x0a\x12\x1a" else None
                value = inner or value
            else:
                return None
            fields.append([key >> 3, kind, value])
    except IndexError:
        return None
    return fields


def _serialise(fields: list[list[Any]]) -> bytes:
    out = bytearray()
    for number, kind, value in fields:
        out += _varint(number << 3 | kind)
        if kind == 0:
            out += _varint(value)
        else:
            held = _serialise(value) if isinstance(value, list) else value
            out += (_varint(len(held)) if kind == 2 else b"") + held
    return bytes(out)


def _messages(fields: list[list[Any]]) -> list[list[list[Any]]]:
    inner = [m for field in fields if isinstance(field[2], list) for m in _messages(field[2])]
    return [fields, *inner]


def change_mindspore(rng: Random, data: bytes) -> bytes:
    """Mutate a checkpoint of MindSpore's: its messages' fields, the spec's text, the checksum."""
    body = data[:-17] if data[-17:-10] == b"crc_num" else data
    fields = _parse(body)
    if fields is None or rng.random() < 0.15:
        body = change_bytes(rng, body)
    else:
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            _change_message(rng, rng.choice(_messages(fields)))
        body = _serialise(fields)
    if (ending := rng.random()) < 0.7:
        return body + b"crc_num" + zlib.crc32(body).to_bytes(10, "big")
    return body + data[len(data) - 17 :] if ending < 0.85 else body


def _change_message(rng: Random, message: list[list[Any]]) -> None:
    if not message:
        message.append([rng.randrange(1, 9), 0, integer(rng) % 2**64])
        return
    field = rng.choice(message)
    kind = rng.randrange(8)
    if kind == 0:
        message.remove(field)
    elif kind == 1:
        message.insert(rng.randrange(len(message) + 1), list(field))
    elif kind == 2:
        field[0] = rng.choice((1, 2, 3, 4, 9, 1000))
    elif kind == 3:
        field[1], field[2] = 0, integer(rng) % 2**64
    elif kind == 4:
        rng.shuffle(message)
    elif isinstance(field[2], int):
        field[2] = integer(rng) % 2**64
    elif isinstance(field[2], bytes):
        field[2] = _change_payload(rng, field[2]) if field[1] == 2 else change_bytes(rng, field[2])[: len(field[2])]


def _change_payload(rng: Random, held: bytes) -> bytes:
    try:
        note = held.decode("utf-32-le") if len(held) > 40 else ""
        json.loads(note)
        return change_json(rng, note.encode()).decode(errors="replace").encode("utf-32-le")
    except ValueError:
        pass
    kinds = (
        b"Float32",
        b"Float64",
        b"Float16",
        b"BFloat16",
        b"Int32",
        b"Bool",
        b"str",
        b"Complex64",
        text(rng).encode(errors="replace"),
    )
    return rng.choice(kinds) if len(held) < 12 and rng.random() < 0.6 else change_bytes(rng, held)


def change_msgpack(rng: Random, data: bytes) -> bytes:
    """Mutate a msgpack file of Flax: the tree, an array's shape, dtype and bytes, or the bytes."""
    import msgpack

    if rng.random() < 0.25:
        return change_bytes(rng, data)
    tree = change_tree(rng, msgpack.unpackb(data, strict_map_key=False), _change_extension)
    try:
        return bytes(msgpack.packb(tree))
    except (ValueError, OverflowError, TypeError, RecursionError):  # numbers beyond 64 bits, halves of surrogates
        return change_bytes(rng, data)


def _change_extension(rng: Random, old: Any) -> Any:
    import msgpack

    if isinstance(old, str) and old.startswith("{"):
        return change_json(rng, old.encode()).decode(errors="replace")
    if not isinstance(old, msgpack.ExtType):
        return msgpack.ExtType(rng.randrange(128), change_bytes(rng, b"\x93\x91\x04\xa7float32\xc4\x04abcd"))
    if rng.random() < 0.3:
        return msgpack.ExtType(rng.choice((old.code, 1, 2, 3, 5)), change_bytes(rng, old.data))
    parts = change_tree(rng, msgpack.unpackb(old.data))
    try:
        return msgpack.ExtType(old.code, msgpack.packb(parts))
    except (ValueError, OverflowError, TypeError, RecursionError):
        return old
