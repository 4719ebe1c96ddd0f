"""Hostile .npz files: WeightsError whatever the bytes are, before memory is spent."""

from __future__ import annotations

import io
import tracemalloc
import zipfile

import numpy as np
import pytest

import convgru

SPEC = convgru.network("rnn", 1, 2, 1, ndim=1)
WEIGHTS = convgru.init(SPEC)


def _npz(entries, **options) -> bytes:
    """A zip archive of these entries."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


def _npy(array, **options) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, **options)
    return buffer.getvalue()


ENTRIES = [(f"{name}.npy", _npy(array)) for name, array in WEIGHTS.arrays.items()]
PROMISE = _npy(np.zeros((2, 1, 1), np.float32)).replace(b"(2, 1, 1)", b"(9999999,)")


def _header(text: bytes) -> bytes:
    """An .npy file with this text for its header."""
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(8)


HOSTILE_NPZ = {
    # NumPy takes a header that it cannot read for one of Python 2, and cuts it into tokens.
    "a header that has no tokens": _npz([(ENTRIES[0][0], _header(b"((('descr': '<f4', ")), *ENTRIES[1:]]),
    "a header that errors would repeat": _npz([(ENTRIES[0][0], _header(b"{" + b"x" * 9000)), *ENTRIES[1:]]),
    "not a zip": b"PK\x03\x04" + bytes(40),
    "entry missing": _npz(ENTRIES[1:]),
    "entry strange": _npz([*ENTRIES, ("run.sh", "rm")]),
    "entry compressed in a strange way": _npz(ENTRIES, compression=zipfile.ZIP_BZIP2),
    "entry not .npy": _npz([(ENTRIES[0][0], b"hello"), *ENTRIES[1:]]),
    "entry promises more than it holds": _npz([(ENTRIES[0][0], PROMISE), *ENTRIES[1:]]),
    "objects, which would be pickle": _npz([(ENTRIES[0][0], _npy(np.array([{}], dtype=object))), *ENTRIES[1:]]),
    "texts": _npz([(ENTRIES[0][0], _npy(np.array(["a"]))), *ENTRIES[1:]]),
    "NaN": _npz([(ENTRIES[0][0], _npy(np.full((2, 1, 1), np.nan, np.float32))), *ENTRIES[1:]]),
}


@pytest.mark.parametrize("name", HOSTILE_NPZ)
def test_hostile_npz_are_weights_errors(tmp_path, name):
    path = tmp_path / "w.npz"
    path.write_bytes(HOSTILE_NPZ[name])
    with pytest.raises(convgru.WeightsError) as caught:
        convgru.read(path, spec=SPEC)
    assert len(str(caught.value)) < 1000 + len(str(path))


def test_the_sound_file_that_the_hostile_ones_are_made_of_is_read(tmp_path):
    (tmp_path / "w.npz").write_bytes(_npz(ENTRIES))
    assert convgru.read(tmp_path / "w.npz", spec=SPEC).equal(WEIGHTS)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_npz_with_an_entry_twice_is_a_weights_error(tmp_path):
    (tmp_path / "w.npz").write_bytes(_npz([*ENTRIES, ENTRIES[0]]))
    with pytest.raises(convgru.WeightsError, match="twice"):
        convgru.read(tmp_path / "w.npz", spec=SPEC)


BOMBS = {
    "zeros that were compressed": _npz(
        [("a.npy", _npy(np.zeros(100 << 20, np.int8)))], compression=zipfile.ZIP_DEFLATED
    ),
    "many that are small": _npz(
        [(f"{i}.npy", _npy(np.zeros(1 << 20, np.int8))) for i in range(100)], compression=zipfile.ZIP_DEFLATED
    ),
    "no array at all": _npz([("a.txt", bytes(100 << 20))], compression=zipfile.ZIP_DEFLATED),
    "a header of any length": _npz([("a.npy", b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little"))]),
    "a shape of any size": _npz([(ENTRIES[0][0], PROMISE.replace(b"(9999999,)", b"(9**9**9,)"))]),
    "a shape that no array has": _npz([(ENTRIES[0][0], PROMISE.replace(b"(9999999,)", b"(9999999999999999999999,)"))]),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_before_memory_is_spent(tmp_path, name):
    (tmp_path / "w.npz").write_bytes(BOMBS[name])
    tracemalloc.start()
    try:
        with pytest.raises(convgru.WeightsError, match=r"w\.npz: "):
            convgru.read(tmp_path / "w.npz", spec=SPEC)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
