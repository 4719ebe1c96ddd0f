"""Anybody's .npz and safetensors files, and convgru's own arrays whose spec was lost on the way."""

from __future__ import annotations

import numpy as np
import pytest

import convgru
from convgru.weights import DTYPES

SUFFIXES = (".safetensors", ".npz")
LSTM = {"cell_list.0.conv.weight": np.ones((8, 3, 3, 3), np.float32), "cell_list.0.conv.bias": np.ones(8, np.float32)}
"""A network of ConvLSTM_pytorch's."""


@pytest.mark.parametrize("dtype", DTYPES)
def test_anybodys_npz_and_safetensors(tmp_path, dtype):
    from safetensors.numpy import save_file

    arrays = {f"module.net.{name}": array.astype(DTYPES[dtype]) for name, array in LSTM.items()}
    arrays |= {"net.step": np.array(3), "head.weight": np.ones((2, 2), np.uint16)}
    save_file(arrays, tmp_path / "w.safetensors", {"format": "pt", "anything": "{["})
    others = {"epoch": 3, "about": "text", "config": np.array([{}], dtype=object), "pairs": np.zeros(2, "f4,i4")}
    np.savez_compressed(tmp_path / "w.npz", **arrays, **others)
    for suffix in SUFFIXES:
        found = convgru.read(tmp_path / f"w{suffix}")
        assert found.spec == convgru.adopt(LSTM).spec
        assert str(found.dtype) == dtype
        assert convgru.read(tmp_path / f"w{suffix}", prefix="module.net").equal(found)


LOST = {
    "gru": (convgru.network("gru", 2, [3, 2], [3, (1, 2)], reset="after"), {}),
    "lstm, both ways": (
        convgru.network("lstm", 2, [4, 2], bidirectional=True, peephole="conv", groups=2),
        {"groups": 2},
    ),
    "stacks": (convgru.network("gru", 2, [3, 3], ndim=1, bidirectional="stack", bias=False), {}),
    "rnn": (convgru.network("rnn", 2, 3, ndim=3, activation="relu"), {"activation": "relu"}),
    "peepholes": (convgru.network("lstm", 1, 2, peephole="hadamard", state_size=(5, 4)), {}),
    "kernels": (convgru.network("gru", 1, 2, 5, recurrent_kernel_size=3, stride=2), {"stride": 2}),
    "norm": (convgru.network("gru", 1, 2, norm=1), {"norm": 1}),
}


@pytest.mark.parametrize("name", LOST)
def test_our_arrays_whose_spec_was_lost(tmp_path, name):
    spec, hints = LOST[name]
    weights = convgru.init(spec)
    np.savez(tmp_path / "w.npz", **{f"model.module.{key}": array for key, array in weights.arrays.items()}, step=3)
    with pytest.raises(convgru.WeightsError, match="layout='convgru' reads them"):
        convgru.read(tmp_path / "w.npz", **hints)
    assert convgru.read(tmp_path / "w.npz", "convgru", **hints).equal(weights)
    np.savez(tmp_path / "w.npz", **{f"{k}.{n}": a for k in "ab" for n, a in weights.arrays.items()})
    assert convgru.read(tmp_path / "w.npz", "convgru", prefix="b", **hints).equal(weights)
    with pytest.raises(
        convgru.WeightsError, match=r"several networks, expected one: choose by prefix= of 'a\.', 'b\.'"
    ):
        convgru.read(tmp_path / "w.npz", "convgru", **hints)


@pytest.mark.parametrize(
    ("hints", "message"),
    [
        ({"groups": 7}, "gates"),
        ({"cell": "gru"}, "ConvGRU"),
        ({"colour": 1}, "colour"),
        ({"norm": "x"}, "norm"),
        ({"groups": 0}, "zero"),
    ],
)
def test_wrong_hints_for_our_arrays_whose_spec_was_lost(tmp_path, hints, message):
    np.savez(tmp_path / "w.npz", **convgru.init(convgru.network("lstm", 2, 3)).arrays)
    with pytest.raises(convgru.WeightsError, match=message):
        convgru.read(tmp_path / "w.npz", "convgru", **hints)


def test_inspect_reads_what_read_reads(tmp_path):
    """The same prefixes, the spec lost or not, and counters beside the weights."""
    one, two = convgru.init(convgru.network("gru", 2, 3)), convgru.init(convgru.network("gru", 2, 4))
    np.savez(tmp_path / "one.npz", **one.arrays)
    assert convgru.inspect(tmp_path / "one.npz", "convgru").weights.equal(one)
    arrays = {
        f"{start}.{name}": array for start, net in (("a", one), ("ab", two)) for name, array in net.arrays.items()
    }
    np.savez(tmp_path / "two.npz", **arrays)
    assert [each.prefix for each in convgru.inspect(tmp_path / "two.npz", "convgru").networks] == ["a.", "ab."]
    for prefix in ("a", "a.", "module.a"):
        (found,) = convgru.inspect(tmp_path / "two.npz", "convgru", prefix=prefix).networks
        assert found.prefix == "a."
    np.savez(tmp_path / "counted.npz", **LSTM, **{"cell_list.0.num_batches_tracked": np.array(3)})
    assert convgru.inspect(tmp_path / "counted.npz").weights.equal(convgru.read(tmp_path / "counted.npz"))
    with pytest.raises(convgru.WeightsError, match=r"counted\.npz: layout expected one of"):
        convgru.inspect(tmp_path / "counted.npz", "colour")
