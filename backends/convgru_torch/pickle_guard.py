"""A look into a .pt file before torch loads it: what it would build is followed with nothing but stand-ins, and measured.

``torch.load(weights_only=True)`` runs no code of the file's, but it inflates compressed entries, makes byte arrays of any length
that a pickle names, storages of any length that a tensor claims, and tensors of any size that a pickle asks their class for. Here the
pickle is read by a machine whose every global is an inert stand-in, and each tensor must have its numbers in the file.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import zipfile
from collections import deque
from collections.abc import Mapping
from typing import Any, BinaryIO

from torch import Tensor

from convgru.formats import zip_limits

ITEM = {
    **dict.fromkeys(
        ("UntypedStorage", "ByteStorage", "CharStorage", "BoolStorage", "QInt8Storage", "QUInt8Storage"), 1
    ),
    **dict.fromkeys(("HalfStorage", "BFloat16Storage", "ShortStorage"), 2),
    **dict.fromkeys(("FloatStorage", "IntStorage", "QInt32Storage"), 4),
    **dict.fromkeys(("DoubleStorage", "LongStorage", "ComplexFloatStorage"), 8),
    "ComplexDoubleStorage": 16,
}
"""Bytes of one number, by the class of the storage."""
TENSOR = re.compile(r"torch\.(?:\w+\.)*(?:\w*Tensor|\w*Storage|Parameter)")
"""Classes that a pickle may call, and that make as many numbers as they are told."""
REFUSED = ("BYTEARRAY8", "NEXT_BUFFER", "READONLY_BUFFER", "EXT1", "EXT2", "EXT4")
"""Operations that reserve memory or look elsewhere, and that torch.save never writes."""
MEMO = ("PUT", "BINPUT", "LONG_BINPUT")
MAX_PICKLE = 64 << 20
"""How long the pickle itself may be: names, shapes and hyperparameters, no numbers."""


def check(file: BinaryIO, size: int) -> set[str]:
    """Raise ValueError, or what pickle and zipfile raise, unless torch may be given this file of ``size`` bytes.

    Returns the names of the globals that its pickles ask for.
    """
    start = file.read(4)
    file.seek(0)
    names: set[str] = set()
    if start == b"PK\x03\x04":
        with zipfile.ZipFile(file) as archive:
            data, entries = _entries(archive, size)
            _follow(data, entries, size, names)
    elif start[:1] == b"\x80":
        # Before 1.6 torch wrote a magic number, a version, and facts on the system, then the state dict.
        for _ in range(4):
            _follow(_next_pickle(file), None, size, names)
    else:
        raise ValueError("expected a zip archive or a pickle, as torch.save writes them")
    file.seek(0)
    return names


def _entries(archive: zipfile.ZipFile, size: int) -> tuple[bytes, dict[str, int]]:
    """The pickle of an archive, and how many bytes each storage in it has."""
    zip_limits.check(archive, size, compressed=False)
    entries = {info.filename: info.file_size for info in archive.infolist()}
    pickles = [name for name in entries if name.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
        raise ValueError(f"expected one entry data.pkl, got {len(pickles)}")
    if entries[pickles[0]] > MAX_PICKLE:
        raise ValueError(f"expected a pickle of at most {MAX_PICKLE} bytes, got {entries[pickles[0]]}")
    root = pickles[0].removesuffix("data.pkl") + "data/"
    return archive.read(pickles[0]), {name.removeprefix(root): bytes_ for name, bytes_ in entries.items()}


def _next_pickle(file: BinaryIO) -> bytes:
    """The bytes of the pickle that begins here, and no more, for storages follow the last."""
    begin = file.tell()
    deque(pickletools.genops(file), maxlen=0)
    end = file.tell()
    file.seek(begin)
    return file.read(end - begin)


def _follow(data: bytes, entries: Mapping[str, int] | None, size: int, names: set[str]) -> None:
    """Check the operations of one pickle, then run it on stand-ins."""
    for count, (operation, argument, _) in enumerate(pickletools.genops(data)):
        if operation.name in REFUSED:
            raise ValueError(f"expected a pickle as torch.save writes it, got the operation {operation.name}")
        if operation.name in MEMO and not 0 <= int(argument or 0) <= count:  # it would make the memo as long as that
            raise ValueError(f"expected at most {count} objects in the pickle's memo, got the index {argument}")
    _Look(data, entries, size, names).load()


class _Storage:
    """Stands for the numbers of a tensor: how many, in how many bytes each."""

    def __init__(self, count: int, item: int) -> None:
        self.count, self.item = count, item


class _Inert:
    """Stands for a global that a pickle names; calling it makes another that does nothing, and drops what it is told."""

    name = ""

    def __new__(cls, *args: Any, **_: Any) -> _Inert:
        check = CHECKS.get(cls.name, _check_nothing if TENSOR.fullmatch(cls.name) else None)
        if check is not None:
            check(*args)
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if TENSOR.fullmatch(self.name):  # torch hands it to Tensor.set_, which makes the storage as long as it is told
            _check_tensor(*state if isinstance(state, tuple) else ())

    def _drop(self, *_: Any) -> None:
        pass

    __setitem__ = append = extend = add = update = _drop


def _check_nothing(*args: Any) -> None:
    if args:
        raise ValueError("expected a tensor whose numbers stand in the file, got one made by its class")


def _check_type(make: Any = None, kind: Any = None, args: Any = (), state: Any = None, *_: Any) -> None:
    if not (isinstance(make, type) and issubclass(make, _Inert) and isinstance(args, tuple)):
        raise ValueError("expected a tensor that torch builds anew, got something else")
    make(*args)  # what torch does with them
    _check_state(state)


def _check_state(state: Any) -> None:
    for each in state if isinstance(state, tuple) else (state,):
        hidden = [str(name)[:80] for name in each if hasattr(Tensor, str(name))] if isinstance(each, dict) else ()
        if hidden:
            raise ValueError(f"expected attributes of the user's own on a tensor, got {', '.join(hidden[:3])}")


def _check_tensor(storage: Any = None, offset: Any = None, shape: Any = None, stride: Any = None, *rest: Any) -> None:
    if (
        not isinstance(storage, _Storage)
        or not _are_sizes((offset,))
        or not _are_sizes(shape)
        or not _are_sizes(stride)
    ):
        raise ValueError("expected a tensor of storage, offset, shape and stride, got something else")
    if len(shape) != len(stride):
        raise ValueError(f"a tensor of {len(shape)} axes expected as many strides, got {len(stride)}")
    bits = (
        re.search(r"\d+", getattr(rest[2], "name", "")) if len(rest) > 2 else None
    )  # of the dtype, where storages have none
    item = int(bits[0]) // 8 if bits and storage.item == 1 else storage.item
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if 0 not in shape and (last + 1) * item > storage.count * storage.item:
        raise ValueError(
            f"a tensor of shape {str(shape)[:80]} has fewer numbers in the file than that: {storage.count}"
        )


def _are_sizes(values: Any) -> bool:
    return isinstance(values, tuple) and all(type(n) is int and 0 <= n < 2**63 for n in values)


def _check_bytes(*args: Any) -> None:
    if any(not isinstance(value, (bytes, str)) for value in args):
        raise ValueError("expected bytes that stand in the file, got bytearray of something else")


def _check_codec(*args: Any) -> None:
    if args[1:] not in ((), ("latin1",), ("latin-1",)):
        raise ValueError("expected bytes encoded in latin1, got another encoding")


CHECKS: Mapping[str, Any] = {
    **{f"torch._utils._rebuild_{kind}": _check_tensor for kind in ("tensor", "tensor_v2", "tensor_v3", "qtensor")},
    "builtins.bytearray": _check_bytes,
    "__builtin__.bytearray": _check_bytes,
    "_codecs.encode": _check_codec,
    "torch._tensor._rebuild_from_type_v2": _check_type,
    "torch._utils._rebuild_parameter_with_state": lambda *args: _check_state(args[-1] if args else None),
}


class _Look(pickle.Unpickler):
    """Run one pickle with stand-ins for its globals, and measure its storages against the entries of the archive."""

    def __init__(self, data: bytes, entries: Mapping[str, int] | None, size: int, names: set[str]) -> None:
        super().__init__(io.BytesIO(data))
        self.entries, self.size, self.names = entries, size, names

    def find_class(self, module: str, name: str) -> Any:
        self.names.add(f"{module}.{name}")
        return type("Inert", (_Inert,), {"name": f"{module}.{name}"})

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] not in ("storage", b"storage"):
            raise ValueError("expected a storage, got something else")
        kind, key, count = getattr(pid[1], "name", "").rpartition(".")[2], pid[2], pid[4]
        item = ITEM.get(kind)
        if item is None or type(count) is not int or count < 0 or not isinstance(key, str):
            raise ValueError(f"expected a storage of torch's and how long it is, got {kind[:80]!r}")
        held = self.size if self.entries is None else self.entries.get(key, -1)
        if count * item > held:
            raise ValueError(
                f"storage {key[:80]!r} expected {min(count * item, 2**63)} bytes in the file, got {max(held, 0)}"
            )
        return _Storage(count, item)
