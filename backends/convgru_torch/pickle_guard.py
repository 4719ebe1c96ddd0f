"""Check a .pt file before torch loads it: run its pickle on stand-ins, measure allocations.

``torch.load(weights_only=True)`` runs no code from the file, but it inflates compressed entries and
allocates whatever the pickle names: byte arrays of any length, storages of any length, tensors of
any size. Here every global of the pickle is an inert stand-in, and each tensor must have its
numbers in the file. Only public parts of Python are used: ``pickletools`` and ``pickle.Unpickler``.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from torch import Tensor

from convgru.formats import zip_limits
from convgru_torch import pickle_hashes, zip_layout
from convgru_torch.pickle_limits import MAX_NAME, MAX_NAMES, MAX_PICKLE, Limits

ITEMSIZE = {
    **dict.fromkeys(
        ("UntypedStorage", "ByteStorage", "CharStorage", "BoolStorage", "QInt8Storage", "QUInt8Storage"), 1
    ),
    **dict.fromkeys(("HalfStorage", "BFloat16Storage", "ShortStorage"), 2),
    **dict.fromkeys(("FloatStorage", "IntStorage", "QInt32Storage"), 4),
    **dict.fromkeys(("DoubleStorage", "LongStorage", "ComplexFloatStorage"), 8),
    "ComplexDoubleStorage": 16,
}
"""Bytes per item of each storage class."""
TENSOR = re.compile(r"torch\.(?:\w+\.)*(?:\w*Tensor|\w*Storage|Parameter)")
"""Classes that a pickle may call, and that allocate as many items as their arguments say."""
REFUSED = ("BYTEARRAY8", "NEXT_BUFFER", "READONLY_BUFFER", "EXT1", "EXT2", "EXT4")
"""Operations that allocate by themselves or refer to data outside the pickle. torch.save never
writes them.
"""
MEMO = ("PUT", "BINPUT", "LONG_BINPUT")
"""Operations that store under an index; the C unpickler makes its memo that long."""
MAX_ATTRIBUTES = 32
"""Of a tensor of a subclass, or of a parameter."""
MAX_AXES = 64
"""NumPy has no more."""


def check(file: BinaryIO, size: int) -> set[str]:
    """Check a file of ``size`` bytes and return the names of the globals that its pickles ask for.

    Raises ValueError, or what pickle and zipfile raise, unless the file may be handed to torch.
    """
    start = file.read(4)
    file.seek(0)
    if start == b"PK\x03\x04":
        with zipfile.ZipFile(file) as archive:
            zip_layout.check(file, archive, size)
            data, entries = _read_archive(archive, size)
            pickles = _Pickles(size, entries)
            pickles.check(io.BytesIO(data))
    elif start[:1] == b"\x80" and not tarfile.is_tarfile(file):  # torch would look for its oldest format, a tar
        file.seek(0)
        # Before 1.6 torch wrote a magic number, a version, facts on the system, the state dict, and
        # the keys of its storages.
        pickles = _Pickles(size, None)
        *_, keys = [pickles.check(file) for _ in range(5)]
        # torch allocates what the fourth pickle names, and fills what the fifth lists. What is no
        # text is not even shown: a tuple of tuples may be as long as 2**60 when written out.
        listed = {key for key in keys if type(key) is str} if isinstance(keys, list) else set()
        storages = pickles.storages
        if not isinstance(keys, list) or len(listed) != len(keys) or listed != storages.keys():
            raise ValueError(f"expected the keys of {len(storages)} storages after the state dict, got others")
    else:
        raise ValueError("expected a zip archive or a pickle, as torch.save writes them")
    file.seek(0)
    return set(pickles.globals)


def _read_archive(archive: zipfile.ZipFile, size: int) -> tuple[bytes, dict[str, int]]:
    """Return the pickle of an archive, and the length of each storage in it by key."""
    zip_limits.check(archive, size, compressed=False)
    entries = {info.filename: info.file_size for info in archive.infolist()}
    pickles = [name for name in entries if name.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
        raise ValueError(f"expected one entry data.pkl, got {len(pickles)}")
    if entries[pickles[0]] > MAX_PICKLE:
        raise ValueError(f"expected a pickle of at most {MAX_PICKLE} bytes, got {entries[pickles[0]]}")
    root = pickles[0].removesuffix("data.pkl") + "data/"
    return archive.read(pickles[0]), {name.removeprefix(root): length for name, length in entries.items()}


class _Pickles:
    """The pickles of one file: what they named so far, and what is left of the file's limits.

    ``entries`` is None for the format before torch 1.6. ``storages`` collects the storages by key,
    with their length in bytes.
    """

    def __init__(self, size: int, entries: Mapping[str, int] | None) -> None:
        self.size, self.entries, self.limits = size, entries, Limits(size)
        self.globals: dict[str, type[_StandIn]] = {}
        self.storages: dict[str, int] = {}

    def check(self, file: BinaryIO) -> Any:
        """Check the operations of the pickle at the file's position, and run it on stand-ins.

        Returns what it makes. The file is read no further: storages follow the last pickle.
        """
        begin = file.tell()
        pickle_hashes.check(self._operations(file))
        length = file.tell() - begin
        if length > MAX_PICKLE:
            raise ValueError(f"expected a pickle of at most {MAX_PICKLE} bytes, got {length}")
        file.seek(begin)
        return _StandInUnpickler(file.read(length), self).load()

    def _operations(self, file: BinaryIO) -> Iterator[tuple[pickletools.OpcodeInfo, Any]]:
        """Yield the operations of a pickle. ValueError for what torch.save does not write."""
        for count, (operation, argument, _) in enumerate(pickletools.genops(file)):
            self.limits.operation()
            if operation.name in REFUSED:
                raise ValueError(f"expected a pickle as torch.save writes it, got the operation {operation.name}")
            if operation.name in MEMO and not 0 <= int(argument or 0) <= count:
                raise ValueError(f"expected at most {count} objects in the pickle's memo, got the index {argument}")
            yield operation, argument

    def stand_in(self, name: str) -> type[_StandIn]:
        """Return the one class that stands for a global."""
        if name not in self.globals:
            if len(name) > MAX_NAME or len(self.globals) == MAX_NAMES:
                raise ValueError(f"expected at most {MAX_NAMES} globals of {MAX_NAME} characters, got {name[:80]!r}")
            tensor = TENSOR.fullmatch(name) is not None
            check = CHECKS.get(name, _check_no_arguments if tensor else _accept)
            self.globals[name] = type(
                "StandIn",
                (_StandIn,),
                {"name": name, "tensor": tensor, "check": staticmethod(check), "limits": self.limits},
            )
        return self.globals[name]


class _Storage:
    """Stands for a storage: its number of items and their size in bytes."""

    def __init__(self, count: int, itemsize: int) -> None:
        self.count, self.itemsize = count, itemsize


class _StandIn:
    """Replaces a global of the pickle: a call checks its arguments and returns an inert object."""

    name: str
    tensor: bool
    check: Callable[..., None]
    limits: Limits

    def __new__(cls, *args: Any, **options: Any) -> _StandIn:
        cls.limits.given(args, options, *args)
        cls.check(*args)
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.limits.given(state)
        if self.tensor:  # torch passes it to Tensor.set_, which resizes the storage
            _check_tensor(*state if isinstance(state, tuple) else ())

    def _ignore(self, *_: Any) -> None:
        pass

    __setitem__ = append = extend = add = update = _ignore


def _accept(*_: Any) -> None:
    """Accept whatever the arguments are: torch refuses to call what it does not know."""


def _check_no_arguments(*args: Any) -> None:
    """Refuse to call a tensor or storage class with sizes, which it would allocate."""
    if args:
        raise ValueError("expected a tensor whose numbers stand in the file, got one made by its class")


def _check_rebuilt(make: Any = None, kind: Any = None, args: Any = (), state: Any = None, *_: Any) -> None:
    """A tensor of a subclass: torch calls ``make(*args)`` and sets the attributes in ``state``."""
    if not (isinstance(make, type) and issubclass(make, _StandIn) and isinstance(args, tuple)):
        raise ValueError("expected a tensor rebuilt by a function of torch, got something else")
    make(*args)
    _check_attributes(state)


def _check_attributes(state: Any) -> None:
    """Refuse attributes that would replace those of torch.Tensor, such as ``numel``."""
    parts = state if isinstance(state, tuple) else (state,)
    if len(parts) > 2 or sum(len(each) for each in parts if isinstance(each, dict)) > MAX_ATTRIBUTES:
        raise ValueError(f"expected a tensor of at most {MAX_ATTRIBUTES} attributes, got more")
    for each in parts:
        replaced = [str(name)[:80] for name in each if hasattr(Tensor, str(name))] if isinstance(each, dict) else ()
        if replaced:
            raise ValueError(f"expected no attribute of torch.Tensor to be replaced, got {', '.join(replaced[:3])}")


def _check_tensor(storage: Any = None, offset: Any = None, shape: Any = None, stride: Any = None, *rest: Any) -> None:
    """Check that a tensor lies within its storage."""
    sizes = all(map(_are_sizes, ((offset,), shape, stride)))
    if not isinstance(storage, _Storage) or not sizes:
        raise ValueError("expected a tensor of storage, offset, shape and stride, got something else")
    if len(shape) != len(stride):
        raise ValueError(f"a tensor of {len(shape)} axes expected as many strides, got {len(stride)}")
    # An untyped storage counts bytes; the dtype, if it comes, says how many an item has.
    bits = re.search(r"\d+", getattr(rest[2], "name", "")) if len(rest) > 2 else None
    itemsize = int(bits[0]) // 8 if bits and storage.itemsize == 1 else storage.itemsize
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if 0 not in shape and (last + 1) * itemsize > storage.count * storage.itemsize:
        raise ValueError(
            f"a tensor of shape {str(shape)[:80]} has fewer numbers in the file than that: {storage.count}"
        )


def _are_sizes(values: Any) -> bool:
    return (
        isinstance(values, tuple) and len(values) <= MAX_AXES and all(type(n) is int and 0 <= n < 2**63 for n in values)
    )


def _check_bytes(*args: Any) -> None:
    """Refuse sizes in place of bytes: ``bytearray(n)`` allocates n bytes."""
    if any(not isinstance(value, (bytes, str)) for value in args):
        raise ValueError("expected bytes that stand in the file, got bytearray of something else")


def _check_codec(*args: Any) -> None:
    """Accept latin1 only: other codecs lengthen their input, and may be applied repeatedly."""
    if args[1:] not in ((), ("latin1",), ("latin-1",)):
        raise ValueError("expected bytes encoded in latin1, got another encoding")


CHECKS: Mapping[str, Any] = {
    **{f"torch._utils._rebuild_{kind}": _check_tensor for kind in ("tensor", "tensor_v2", "tensor_v3", "qtensor")},
    "builtins.bytearray": _check_bytes,
    "__builtin__.bytearray": _check_bytes,
    "_codecs.encode": _check_codec,
    "torch._tensor._rebuild_from_type_v2": _check_rebuilt,
    "torch._utils._rebuild_parameter_with_state": lambda *args: _check_attributes(args[-1] if args else None),
}
"""Checks of a global's arguments, by its name."""


class _StandInUnpickler(pickle.Unpickler):
    """Run one pickle with stand-ins for its globals; measure storages against archive entries."""

    def __init__(self, data: bytes, pickles: _Pickles) -> None:
        super().__init__(io.BytesIO(data))
        self.pickles = pickles

    def find_class(self, module: str, name: str) -> Any:
        if len(module) > MAX_NAME or len(name) > MAX_NAME:  # may be the same text for every call
            raise ValueError(f"expected the name of a class, got {module[:80]!r}, {name[:80]!r}")
        return self.pickles.stand_in(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] not in ("storage", b"storage"):
            raise ValueError("expected a storage, got something else")
        kind, key, count = getattr(pid[1], "name", "").rpartition(".")[2], pid[2], pid[4]
        itemsize = ITEMSIZE.get(kind)
        if itemsize is None or type(count) is not int or count < 0 or not isinstance(key, str):
            raise ValueError(f"expected a storage class of torch and its length, got {kind[:80]!r}")
        held = self.pickles.size if self.pickles.entries is None else self.pickles.entries.get(key, -1)
        if count * itemsize > held:
            raise ValueError(
                f"storage {key[:80]!r} expected {min(count * itemsize, 2**63)} bytes in the file, got {max(held, 0)}"
            )
        # torch makes the storage that it meets first; a tensor beyond its end would lengthen it.
        if self.pickles.storages.setdefault(key, count * itemsize) != count * itemsize:
            raise ValueError(f"storage {key[:80]!r} expected one length, got several")
        return _Storage(count, itemsize)
