"""Mutate HDF5 files by their structures, Keras' archives, and folders of orbax and of the Hub."""

from __future__ import annotations

import posixpath
from random import Random

from mutate_containers import change_safetensors, change_zip
from mutate_values import change_bytes, change_json, integer, text

MARKS = (b"\x89HDF\r\n\x1a\n", b"TREE", b"HEAP", b"SNOD", b"GCOL", b"OHDR", b"OCHK", b"FRHP", b"FHDB", b"BTHD")
Files = dict[str, bytes]


def change_hdf5(rng: Random, data: bytes) -> bytes:
    """Mutate what HDF5 follows: heaps, trees, object headers, addresses of one another."""
    if rng.random() < 0.15:
        return change_bytes(rng, data)
    marks = [at for mark in MARKS for at in range(0, len(data), 8) if data.startswith(mark, at)]
    addresses = [at for at in range(0, len(data) - 8, 8) if 0 < int.from_bytes(data[at : at + 8], "little") < len(data)]
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        kind = rng.randrange(7)
        start = rng.choice(marks or [0])
        at = min(start + rng.choice((4, 5, 6, 8, 16, 24, 32, rng.randrange(4, 200))), len(out) - 1)
        if kind == 0:
            width = rng.choice((1, 2, 4, 8))
            out[at : at + width] = (integer(rng) % 2 ** (8 * width)).to_bytes(width, "little")
        elif kind == 1:
            length = rng.choice((8, 16, 64, 512, 4096))
            out[at : at + length] = bytes(len(out[at : at + length]))
        elif kind == 2 and addresses:
            where, other = rng.choice(addresses), rng.choice(addresses)
            out[where : where + 8] = data[other : other + 8]
        elif kind == 3 and addresses:
            where = rng.choice(addresses)
            value = rng.choice((rng.choice(marks or [0]), rng.randrange(len(data)), integer(rng) % 2**64))
            out[where : where + 8] = value.to_bytes(8, "little")
        elif kind == 4:
            block = data[rng.choice(marks or [0]) :][: rng.choice((16, 64, 256))]
            out[start : start + len(block)] = block
        elif kind == 5:
            name = rng.choice((b"cell", b"vars", b"layers", b"kernel", b"model_config", b"name", b"_weight", b"bias"))
            places = [i for i in range(len(data)) if data.startswith(name, i)]
            if places:
                where = rng.choice(places)
                out[where : where + len(name)] = change_bytes(rng, name).ljust(len(name), b"\0")[: len(name)]
        else:
            out[at] ^= 1 << rng.randrange(8)
    return bytes(out)


def change_h5_config(rng: Random, data: bytes) -> bytes:
    """Mutate the config in an .h5 file in place, or its structure."""
    start = data.find(b'{"')
    if start < 0 or rng.random() < 0.7:
        return change_hdf5(rng, data)
    end = data.find(b"\0", start)
    held = change_json(rng, data[start:end]).ljust(end - start)[: end - start]
    return data[:start] + held + data[end:]


def change_keras(rng: Random, data: bytes) -> bytes:
    """Mutate an archive of Keras 3: its config, its weights, the archive."""

    def change(rng: Random, name: str, held: bytes) -> bytes:
        return change_json(rng, held) if name.endswith(".json") else change_hdf5(rng, held)

    return change_zip(rng, data, change, rng.choice(("config.json", "config.json", "metadata.json", ".h5")))


def change_folder(rng: Random, files: Files) -> Files:
    """Mutate a folder: JSON, numbers, names of its files."""
    out = dict(files)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        name = rng.choice(sorted(out) or ["x"])
        held = out.get(name, b"")
        kind = rng.random()
        if kind < 0.75:
            out[name] = _change_member(rng, name, held)
        elif kind < 0.82:
            out.pop(name, None)
        elif kind < 0.9 and out:
            other = rng.choice(sorted(out))
            out[name], out[other] = out[other], held
        else:
            part = text(rng).encode(errors="replace").decode().replace("/", "").replace("\0", "")[:60] or "x"
            place = posixpath.join(posixpath.dirname(name), part if part not in (".", "..") else "x")
            if not any(each == place or each.startswith(place + "/") for each in out):
                out[place] = out.pop(name, b"") if rng.random() < 0.5 else held
    return out


def _change_member(rng: Random, name: str, held: bytes) -> bytes:
    if name.endswith(".safetensors"):
        return change_safetensors(rng, held)
    return change_json(rng, held) if held[:1] == b"{" and rng.random() < 0.9 else change_bytes(rng, held)
