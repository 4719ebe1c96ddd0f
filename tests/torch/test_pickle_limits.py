"""Small .pt files that would take much memory or time: the limits on what a pickle may ask for."""

import io
import pickletools
import zipfile

import pytest
import torch

import convgru
from convgru import WeightsError
from convgru_torch import pickle_guard


def pickled(code):
    """A file whose pickle is this."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", code)
        archive.writestr("archive/version", b"3\n")
    return out.getvalue()


def again(what, given, times=2_000):
    """A call of one function with one object, again and again."""
    return pickled(b"\x80\x02" + given + b"q\x01c" + what + b"\nq\x02(" + b"h\x02h\x01\x85R" * times + b"t.")


MANY_ONES = b"(" + b"K\x01" * 100_000 + b"t"
TOO_MUCH = {
    "a global again and again": (pickled(b"\x80\x02(" + b"ca\nb\n" * 400_000 + b"t."), "b was not an allowed global"),
    "more globals than torch has": (
        pickled(b"\x80\x02(" + b"".join(b"ca\nb%d\n" % i for i in range(1001)) + b"t."),
        "at most 1000 globals",
    ),
    "a long name": (pickled(b"\x80\x02ca\n" + b"b" * 2000 + b"\n."), "the name of a class"),
    "sets": (pickled(b"\x80\x04(" + b"\x8f" * 1_000_000 + b"t."), "fewer operations"),
    "lists": (pickled(b"\x80\x02(" + b"]" * 1_000_000 + b"t."), "fewer operations"),
    "old, lists": (b"\x80\x02(" + b"]" * 1_000_000 + b"t.", "fewer operations"),
    "a set of one tuple": (again(b"builtins\nset", MANY_ONES), "again and again"),
    "a shape": (again(b"torch\nSize", MANY_ONES), "again and again"),
    "an ordered dict": (again(b"collections\nOrderedDict", b"}(" + b"".join(b"M%cxN" % i for i in range(256)) + b"u", 9_000), "again and again"),
    "one text, encoded": (
        pickled(b"\x80\x02U\xc8" + b"a" * 200 + b"q\x01c_codecs\nencode\nq\x02(" + b"h\x02h\x01\x85R" * 9_000 + b"t."),
        "again and again",
    ),
    "integers of one hash": (
        pickled(b"\x80\x02}(" + b"".join(b"\x8a\x0a" + (i * (2**61 - 1)).to_bytes(10, "little") + b"N" for i in range(1, 999)) + b"u."),
        "keys of at most",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TOO_MUCH)
def test_small_files_that_would_take_much(tmp_path, name):
    data, message = TOO_MUCH[name]
    (tmp_path / "bad.pt").write_bytes(data)
    with pytest.raises(WeightsError, match=message):
        convgru.read(tmp_path / "bad.pt")


def test_the_pickle_of_20_000_tensors_passes():
    buffer = io.BytesIO()
    torch.save({f"layers.{i}.weight": torch.zeros(()) for i in range(1000)}, buffer)
    data = buffer.getvalue()
    operations = pickle_guard.Limits(len(data)).operations
    pickle_guard.check(io.BytesIO(data), len(data))
    with zipfile.ZipFile(buffer) as archive:
        used = len(list(pickletools.genops(archive.read("archive/data.pkl"))))
    assert used * 20 <= operations
