"""Mutate bytes, and trees of JSON or msgpack: what every other mutator falls back on."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

SIZES = (0, 1, 2, 3, 4, 7, 8, 16, 63, 64, 255, 256, 4095, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32)
HUGE = (2**40, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 10**18, 10**20)
TEXTS = (
    *("", " ", ".", "..", "/", "../outside", "/etc/passwd", "a/b", "\\", "\0", "\x1b]0;title\x07\x1b[2J", "\u009b2J"),
    *("é", "\ud800", "\U0001f600", "NaN", "1e999", "None", "__class__", "layers.0.fwd.weight_ih", "weight_ih"),
    *("<f4", "|O", "bfloat16", "float32", "F32", "BOOL", "convgru", "spec", "sha256", "sigmoid", "same", "gru", "lstm"),
)


def integer(rng: Random) -> int:
    """Return a whole number that programs trip over."""
    value = rng.choice(SIZES if rng.random() < 0.7 else HUGE) + rng.choice((-1, 0, 0, 0, 1))
    return -value if rng.random() < 0.2 else value


def text(rng: Random) -> str:
    """Return a name or a text."""
    chosen = rng.choice(TEXTS)
    return chosen * rng.choice((1, 1, 1, 2, 50, 3000)) if rng.random() < 0.3 else chosen


def scalar(rng: Random) -> Any:
    """Return any leaf of a tree."""
    kinds: tuple[Callable[[], Any], ...] = (
        lambda: integer(rng),
        lambda: integer(rng),
        lambda: text(rng),
        lambda: rng.choice((None, True, False, 0.5, -0.0, 1e308, 1.0)),
        lambda: rng.choice(([], {}, [[]], [1, 2], [[1, 2], [3, 4]], {"a": 1})),
    )
    return rng.choice(kinds)()


def change_bytes(rng: Random, data: bytes, pool: Sequence[bytes] = ()) -> bytes:
    """Apply one or more edits that know nothing of the format."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(9)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(out):
            out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind == 2:
            width = rng.choice((2, 4, 8))
            order = rng.choice(("little", "big"))
            out[at : at + width] = (integer(rng) % 2 ** (8 * width)).to_bytes(width, order)  # type: ignore[arg-type]
        elif kind == 3:
            out[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice((1, 2, 8, 40))))
        elif kind == 4:
            del out[at : at + rng.choice((1, 2, 8, 64, 1000))]
        elif kind == 5:
            block = out[at : at + rng.choice((1, 4, 16, 200))]
            where = rng.randrange(len(out) + 1)
            out[where:where] = block * rng.choice((1, 2, 20))
        elif kind == 6:
            del out[at:]
        elif kind == 7:
            length = rng.choice((4, 16, 64, 512))
            out[at : at + length] = bytes([rng.choice((0, 0xFF))]) * len(out[at : at + length])
        elif pool:
            other = rng.choice(pool)
            start = rng.randrange(len(other) + 1)
            out[at : at + rng.choice((0, 8, 100))] = other[start : start + rng.choice((8, 100, 1000))]
    return bytes(out)


def places(tree: Any, found: list[tuple[Any, Any]] | None = None) -> list[tuple[Any, Any]]:
    """Return (container, key) of every node below the root."""
    found = [] if found is None else found
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in entries:
        found.append((tree, key))
        places(value, found)
    return found


def change_tree(rng: Random, tree: Any, leaf: Callable[[Random, Any], Any] | None = None) -> Any:
    """Return a tree with some nodes replaced, taken away, renamed, copied or nested.

    ``leaf`` changes what is no dict, list, number or text; it may also return the same.
    """
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        nodes = places(tree)
        if not nodes:
            return scalar(rng)
        holder, key = rng.choice(nodes)
        kind = rng.randrange(10)
        if kind < 4:
            old = holder[key]
            if isinstance(old, int) and not isinstance(old, bool) and rng.random() < 0.5:
                holder[key] = rng.choice((old + 1, old - 1, old * 2, -old, old * 1000))
            else:
                holder[key] = leaf(rng, old) if leaf is not None and rng.random() < 0.5 else scalar(rng)
        elif kind == 4:
            del holder[key]
        elif kind == 5 and isinstance(holder, dict):
            holder[text(rng) if rng.random() < 0.7 else rng.choice(nodes)[1]] = holder.pop(key)
        elif kind == 6:
            other, name = rng.choice(nodes)
            holder[key] = copy.deepcopy(
                other.get(name) if isinstance(other, dict) else other[min(name, len(other) - 1)]
            )
        elif kind == 7:
            for _ in range(rng.choice((1, 5, 40, 300))):
                holder[key] = [holder[key]] if rng.random() < 0.5 else {"a": holder[key]}
        elif kind == 8 and isinstance(holder[key], list):
            holder[key] = holder[key] * rng.choice((0, 2, 3, 40))
        elif kind == 9 and isinstance(holder, dict):
            holder[text(rng)] = scalar(rng)
    return tree


def change_json(rng: Random, data: bytes) -> bytes:
    """Mutate JSON text: as a tree, or as text."""
    try:
        tree = json.loads(data)
    except ValueError:
        return change_bytes(rng, data)
    if rng.random() < 0.8:
        written = json.dumps(change_tree(rng, tree), ensure_ascii=rng.random() < 0.9)
        data = written.encode(errors="surrogatepass")
        return data if rng.random() < 0.9 else data.replace(b"1", rng.choice((b"NaN", b"1e999", b"01", b"1.0")), 1)
    tricks = (
        b"[" * rng.choice((40, 5000)),
        b'{"' + b'\\"' * rng.choice((10, 5000)),
        data + data,
        data.replace(b"{", b'{"a":0,"a":0,', 1),
        data.replace(b'"', b"'", 2),
        data[: rng.randrange(len(data) + 1)],
        b"\xff\xfe" + data,
        data.replace(b"[", b"[[", 1),
    )
    return rng.choice(tricks) if rng.random() < 0.5 else change_bytes(rng, data)
