"""Every kind of file that once failed: made here or, where no script can, kept in ``corpus/``.

Each has the format whose campaign reads it; what it did is said at its name.
"""

from __future__ import annotations

import io
import json
import pickletools
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Files = dict[str, bytes]
FOLDER = Path(__file__).with_name("corpus")


def _safetensors(header: bytes) -> Files:
    return {"": len(header).to_bytes(8, "little") + header}


def _surrogates() -> str:
    """The note of a spec with a field whose name is long, and six times as long when escaped."""
    return json.dumps({"format": 1, "spec": {"kind": "network", "\ud800" * 3000: 1}})


def _zip(entries: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> Files:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return {"": buffer.getvalue()}


def _pickled(code: bytes) -> Files:
    return _zip({"archive/data.pkl": code, "archive/version": b"3\n"})


def _npy(header: bytes) -> Files:
    return _zip({"a.npy": b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(4)})


def _seed(name: str, number: int = 0) -> Files:
    from seeds import FORMATS

    return FORMATS[name].seeds()[number]


def _spec(**options: Any) -> Callable[[], Files]:
    """A network of one pixel that would take gigabytes, or for ever, to run."""

    def make() -> Files:
        import convgru
        from convgru.formats import safetensors

        arguments = {"cell": "gru", "in_channels": 1, "hidden_channels": 1, **options}
        return {"": safetensors.to_bytes(convgru.init(convgru.network(**arguments)))}

    return make


def _legacy(number: int, old: bytes, new: bytes) -> Callable[[], Files]:
    """A file from before torch 1.6 with another pickle in the place of one of its five."""

    def make() -> Files:
        data = _seed("pth", 3)[""]
        file, ends = io.BytesIO(data), [0]
        for _ in range(5):
            for _ in pickletools.genops(file):
                pass
            ends.append(file.tell())
        held = data[ends[number] : ends[number + 1]]
        changed = held.replace(old, new) if old else new
        assert changed != held
        return {"": data[: ends[number]] + changed + data[ends[number + 1] :]}

    return make


def _two_storages() -> Files:
    """Two tensors of one storage, which is made as long as the first one needs."""
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK%ctQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00K%c\x85K\x01\x85\x89}tR"
    code = b"\x80\x02}(X\x01\x00\x00\x00a" + tensor % (1, 1) + b"X\x01\x00\x00\x00b" + tensor % (8, 8) + b"u."
    return _zip({"archive/data.pkl": code, "archive/data/0": bytes(32), "archive/version": b"3\n"})


def _folder() -> Files:
    """An archive of torch in which the numbers are marked as a folder."""
    data = bytearray(_seed("pt", 3)[""])
    entry = data.index(b"archive/data/0", data.index(b"PK\x01\x02")) - 46
    data[entry + 38 : entry + 42] = (0x10).to_bytes(4, "little")
    return {"": bytes(data)}


def _keras(**entries: bytes) -> Files:
    with zipfile.ZipFile(io.BytesIO(_seed("keras")[""])) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    return _zip(
        {**held, **{name.replace("_json", ".json"): data for name, data in entries.items()}}, zipfile.ZIP_DEFLATED
    )


def _dilated() -> Files:
    with zipfile.ZipFile(io.BytesIO(_seed("keras")[""])) as archive:
        config = json.loads(archive.read("config.json"))
    for layer in config["config"]["layers"]:
        if "dilation_rate" in layer["config"]:
            layer["config"]["dilation_rate"] = [10**20]
    return _keras(config_json=json.dumps(config).encode())


def _orbax(name: str, old: bytes, new: bytes) -> Callable[[], Files]:
    def make() -> Files:
        files = _seed("orbax")
        place = next(each for each in files if each.rpartition("/")[2] == name)
        assert old in files[place]
        return {**files, place: files[place].replace(old, new)}

    return make


def _bomb() -> Files:
    import bz2

    files = _seed("orbax")
    place = next(each for each in files if each.endswith(".zarray"))
    changed = {**json.loads(files[place]), "compressor": {"id": "bz2", "level": 9}, "chunks": [1 << 28], "shape": [4]}
    chunk = place.replace(".zarray", "0")
    return {**files, place: json.dumps(changed).encode(), chunk: bz2.compress(bytes(1 << 24))}


def _names() -> Files:
    """An entry of MindSpore's with a name that a terminal obeys, and of 200,000 characters."""

    def field(number: int, data: bytes) -> bytes:
        length, out = len(data), bytearray([number << 3 | 2])
        while length > 0x7F:
            out.append(length & 0x7F | 0x80)
            length >>= 7
        return bytes([*out, length]) + data

    name = b"\x1b]0;title\x07\x1b[2J" + b"A" * 200_000
    tensor = b"\x08\x02" + field(2, b"Float32") + field(3, b"\0")
    return {"": field(1, field(1, name) + field(2, tensor))}


def _encoded() -> Files:
    """A text of 1 MB that is encoded, and so copied, 2,000 times."""
    text = b"X" + (1 << 20).to_bytes(4, "little") + b"a" * (1 << 20) + b"q\x01"
    call = b"c_codecs\nencode\nq\x02X\x06\x00\x00\x00latin1q\x03("
    return _pickled(b"\x80\x02" + text + call + b"h\x02h\x01h\x03\x86R" * 2000 + b"t.")


BYTES = b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\x00\x00\x00\x00\x01\x85R."
MADE: Mapping[str, tuple[str, str, Callable[[], Files]]] = {
    "hours: a string of quotes without end": (
        "safetensors",
        ".safetensors",
        lambda: _safetensors(b'{"' + b'\\"' * 200_000),
    ),
    "minutes: one key twice, late": (
        "safetensors",
        ".safetensors",
        lambda: _safetensors(b"{" + b"".join(b'"%d":0,' % i for i in range(40_000)) + b'"z":0,"z":0}'),
    ),
    "a message of 18,000 characters": (
        "spec",
        ".safetensors",
        lambda: _safetensors(json.dumps({"__metadata__": {"convgru": _surrogates()}}).encode()),
    ),
    "padding": ("spec", ".safetensors", _spec(padding=((20000, 20000), (20000, 20000)))),
    "dilation": ("spec", ".safetensors", _spec(dilation=40000)),
    "recurrent stride": ("spec", ".safetensors", _spec(recurrent_stride=10**6)),
    "output size": ("spec", ".safetensors", _spec(output_size=(30000, 30000))),
    "tokenize.TokenError": (
        "npz",
        ".npz",
        lambda: _npy(b"(((" + b"'descr': '<f4', 'fortran_order': False, 'shape': (1,), "),
    ),
    "2**40 steps to hash a key": ("pt", ".pt", lambda: _pickled(b"\x80\x02})" + b"2\x86" * 40 + b"K\x01s.")),
    "bytes of any length": ("pt", ".pt", lambda: _pickled(BYTES)),
    "a storage of two lengths": ("pt", ".pt", _two_storages),
    "a storage that is a folder: whatever was in memory": ("pt", ".pt", _folder),
    "1 GB of classes": ("pt", ".pt", lambda: _pickled(b"\x80\x02(" + b"ca\nb\n" * 400_000 + b"t.")),
    "17 seconds of sets": ("pt", ".pt", lambda: _pickled(b"\x80\x04(" + b"\x8f" * 4_000_000 + b"t.")),
    "2 GB of one text, encoded": ("pt", ".pt", _encoded),
    "lists without end": ("pth", ".pth", lambda: {"": b"\x80\x02(" + b"]" * 4_000_000 + b"t."}),
    "a fifth pickle that nobody checks": ("pth", ".pth", _legacy(4, b"", BYTES)),
    "a key of 2**40 characters": ("pth", ".pth", _legacy(4, b"", b"\x80\x02])" + b"2\x86" * 40 + b"a.")),
    "a storage that no key fills: whatever was in memory": ("pth", ".pth", _legacy(4, b"e.", b"1.")),
    "a config of 60 MB in 62 KB": ("keras", ".keras", lambda: _keras(config_json=b"[" + b"[]," * 20_000_000 + b"0]")),
    "a dilation of 10**20": ("keras", ".keras", _dilated),
    "a chunk of 1 GiB": ("orbax", "", _bomb),
    "a name that leads out": ("orbax", "", _orbax("_METADATA", b"params", b"../params")),
    "400 MB of entries": (
        "ckpt",
        ".ckpt",
        lambda: {"": b"".join(b"\n\x0a\n\x06%06d\x12\x00" % i for i in range(200_000))},
    ),
    "a name for terminals": ("ckpt", ".ckpt", _names),
}
"""What went wrong -> format, suffix, and how the file is made."""


def names(of: str) -> list[str]:
    """Return the names of the files that a format's campaign reads."""
    kept = [path.name for path in sorted(FOLDER.glob(f"{of}--*"))]
    return [*kept, *(name for name, (each, _, _) in MADE.items() if each == of)]


def file(name: str) -> tuple[Files, str]:
    """Return a file and its suffix."""
    if name in MADE:
        _, suffix, make = MADE[name]
        return make(), suffix
    path = FOLDER / name
    return {"": path.read_bytes()}, path.suffix
