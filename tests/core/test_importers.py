"""Foreign layouts: the originals' numbers, exact round trips, and sentences for what does not fit."""

from __future__ import annotations

import re
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

import convgru
from convgru import importers, numpy_ops, reference
from convgru.convolution import Convolution

KAMO = "convolutional_rnn"


def close(got, want):
    assert got.shape == want.shape
    return np.abs(got - want).max() <= 1e-14


def test_pytorch_convgru_gives_the_originals_numbers(golden):
    meta, state_dict, arrays = golden("pytorch_convgru")
    weights = convgru.adopt(state_dict, **meta["args"])
    assert weights.spec == convgru.network("gru", 3, [4, 6], [3, 5])
    state = None
    for t, frame in enumerate(arrays["x"]):
        y, state = reference.run(weights, frame[None], state)
        assert close(state[0], arrays[f"h_t{t}_l0"])
        assert close(state[1], arrays[f"h_t{t}_l1"])
        assert close(y[0], arrays[f"h_t{t}_l1"])


def test_convlstm_pytorch_gives_the_originals_numbers(golden):
    meta, state_dict, arrays = golden("convlstm_pytorch")
    weights = convgru.adopt(state_dict, **meta["args"])
    assert weights.spec == convgru.network("lstm", 2, [4, 3], [3, 5])
    y, state = reference.run(weights, arrays["x"].swapaxes(0, 1))
    assert close(y.swapaxes(0, 1), arrays["output_l1"])
    for layer in (0, 1):
        assert close(state[layer][0], arrays[f"h_l{layer}"])
        assert close(state[layer][1], arrays[f"c_l{layer}"])


def _time_first(meta, array):
    return array.swapaxes(0, 1) if meta["args"].get("batch_first") else array


@pytest.mark.parametrize("name", ["conv1d_rnn", "conv2d_gru", "conv2d_lstm", "conv2d_peephole", "conv3d_gru"])
def test_convolutional_rnn_gives_the_originals_numbers(golden, name):
    meta, state_dict, arrays = golden(f"{KAMO}.{name}")
    weights = convgru.adopt(state_dict, **meta["args"])
    y, state = reference.run(weights, _time_first(meta, arrays["x"]), lengths=meta["lengths"])
    assert close(_time_first(meta, y), arrays["output"])
    pairs = [entry if isinstance(entry, tuple) else (entry,) for entry in state]
    for part, parts in zip("hc", zip(*pairs, strict=True), strict=False):
        assert close(np.stack(parts), arrays[part])


def test_biconvgru_gives_the_originals_numbers(golden):
    meta, state_dict, arrays = golden("biconvgru")
    weights = convgru.adopt(state_dict, **meta["args"])
    assert weights.spec == convgru.network(
        "gru", 3, [4, 5], [3, 5], bidirectional="stack", output_size=(4, 3), dropout=0.2
    )
    layers, state = reference.run(weights, arrays["x"].swapaxes(0, 1), return_all_layers=True)
    for layer, y in enumerate(layers):
        assert close(y.swapaxes(0, 1), arrays[f"output_l{layer}"])
        for direction, word in enumerate(("forward", "reverse")):
            assert close(state[2 * layer + direction], arrays[f"state_{word}_l{layer}"])


def test_bidirectional_conv_lstm_gives_the_originals_numbers(golden):
    """But for its quirks: there the backward half is in reversed time, and states stand side by side along the width."""
    meta, state_dict, arrays = golden("bidirectional_conv_lstm")
    weights = convgru.adopt(state_dict, **meta["args"])
    assert weights.spec == convgru.network("lstm", 2, 4, bidirectional=True)
    y, ((h, c), (h_back, c_back)) = reference.run(weights, arrays["x"].swapaxes(0, 1))
    y, half = y.swapaxes(0, 1), 4
    assert close(np.concatenate([y[:, :, :half], y[:, ::-1, half:]], 2), arrays["output"])
    assert close(np.concatenate([h, h_back], -1), arrays["h"])
    assert close(np.concatenate([c, c_back], -1), arrays["c"])


def test_a_batch_norm_is_folded_in_float64_and_rounded_once(golden):
    _, state_dict, _ = golden("bidirectional_conv_lstm")
    single = {name: a if a.dtype.kind == "i" else a.astype(np.float32) for name, a in state_dict.items()}
    single |= {"hidden_state": np.zeros((1, 4, 7, 6), np.float32), "cell_state": np.zeros((1, 4, 7, 6), np.float32)}
    weights = convgru.adopt(single)
    exact = convgru.adopt({name: array.astype(np.float64) for name, array in single.items() if "bn2d.num" not in name})
    assert exact.astype("float32").equal(weights)
    start = "conv_lstm_cells.1.gates.0"
    s = exact.arrays["layers.0.bwd.weight_hh"] / single[f"{start}.conv_h.weight"]
    gamma, variance = (single[f"{start}.bn2d.{part}"].astype(float) for part in ("weight", "running_var"))
    np.testing.assert_allclose(s[:, 0, 0, 0], (gamma / np.sqrt(variance + 1e-5)), rtol=1e-14)
    without = {name: array for name, array in single.items() if not re.search(r"conv_[xh]\.bias", name)}
    assert convgru.adopt(without).spec == weights.spec  # its convolutions need no biases: the batch norm has one


@pytest.mark.parametrize("ndim", [1, 2])
def test_groups_that_cut_across_gates_become_dense(ndim):
    """The original's convolution divides all rows in groups, which is a group convolution of one gate, here."""
    rng, kernel = np.random.default_rng(2), (3, 2)[:ndim]
    foreign = {
        "weight_ih_l0": rng.standard_normal((12, 3, *kernel)),
        "weight_hh_l0": rng.standard_normal((12, 2, *kernel)),
    }
    weights = convgru.adopt(foreign, groups=2, in_channels=6, out_channels=4)
    assert weights.spec == convgru.network("gru", 6, 4, kernel, ndim=ndim, reset="after", bias=False)
    x = rng.standard_normal((2, *(5, 4)[:ndim], 6))
    ones = (1,) * ndim
    grouped, plain = (Convolution(kernel, ones, ones, groups=groups) for groups in (2, 1))
    for name, width in (("weight_ih", 6), ("weight_hh", 4)):
        whole = weights.arrays[f"layers.0.fwd.{name}"]
        got, want = (
            numpy_ops.conv(x[..., :width], {"k": numpy_ops.kernel(weight, geometry)}, "k")
            for weight, geometry in ((whole, plain), (foreign[f"{name}_l0"], grouped))
        )
        np.testing.assert_allclose(got, want, atol=1e-13)
        assert np.count_nonzero(whole) == foreign[f"{name}_l0"].size


def test_one_gate_keeps_its_groups():
    weights = _random(convgru.network("rnn", 4, 6, groups=2, bidirectional=True))
    foreign = importers.export(weights, KAMO)
    assert foreign["weight_ih_l0_reverse"].shape == (6, 2, 3, 3)
    assert convgru.adopt(foreign, groups=2).equal(weights)


def test_strides_dilations_and_dropout_are_hints():
    weights = _random(convgru.network("gru", 2, [4, 4], reset="after"))
    spec = convgru.adopt(importers.export(weights, KAMO), stride=[2, 1], dilation=3, dropout=0.5).spec
    layer = spec.layers[1]
    assert (layer.stride, layer.recurrent_stride, layer.padding) == ((2, 1), (2, 1), "preserve")
    assert (layer.dilation, layer.recurrent_dilation) == ((3, 3), (3, 3))
    assert spec.dropout == 0.5
    assert convgru.state_shapes(spec, 1, (6, 5)) == ((1, 4, 6, 5),) * 2


def test_a_list_is_one_for_each_layer_or_for_each_dimension():
    for kernels in ([3, 5], [5, 3]):
        foreign = importers.export(_random(convgru.network("gru", 2, [4, 4], kernels)), "biconvgru")
        assert convgru.adopt(foreign, kernel_size=kernels).spec.layers[0].kernel_size == (kernels[0],) * 2
    foreign = importers.export(_random(convgru.network("gru", 2, [4, 4], (3, 5), reset="after")), KAMO)
    assert convgru.adopt(foreign, kernel_size=[3, 5]).spec.layers[1].kernel_size == (3, 5)
    with pytest.raises(convgru.WeightsError, match="the hint says"):
        convgru.adopt(foreign, kernel_size=[5, 3])


def test_bare_cells_are_read_only_by_name():
    """Everybody calls a cell's arrays weight_ih: we do too, and mean another reset."""
    weights = _random(convgru.network("gru", 2, 4, reset="after"))
    foreign = importers.export(weights, f"{KAMO}.gru_cell")
    assert sorted(foreign) == ["bias_hh", "bias_ih", "weight_hh", "weight_ih"]
    assert convgru.adopt(foreign, KAMO).equal(weights)
    with pytest.raises(convgru.WeightsError, match="no known layout fits"):
        convgru.adopt(foreign)


def test_biases_of_peepholes_are_summed_in():
    weights = _random(convgru.network("lstm", 2, 3, peephole="conv"))
    foreign = importers.export(weights, KAMO)
    more = {f"bias_p{gate}_l0": np.full(3, float(number)) for number, gate in enumerate("ifo", start=1)}
    found = convgru.adopt({**foreign, **more}).arrays["layers.0.fwd.bias"] - weights.arrays["layers.0.fwd.bias"]
    np.testing.assert_allclose(found, np.repeat([1.0, 2.0, 0.0, 3.0], 3), atol=1e-14)


def test_biases_are_summed_in_float64_and_rounded_once():
    rng = np.random.default_rng(0)
    arrays = {
        "weight_ih_l0": rng.standard_normal((12, 2, 3)).astype(np.float32),
        "weight_hh_l0": rng.standard_normal((12, 4, 3)).astype(np.float32),
        "bias_ih_l0": rng.standard_normal(12).astype(np.float32),
        "bias_hh_l0": rng.standard_normal(12).astype(np.float32),
    }
    weights = convgru.adopt(arrays)
    both = arrays["bias_ih_l0"].astype(np.float64) + arrays["bias_hh_l0"]
    assert (weights.arrays["layers.0.fwd.bias"][:8] == both[:8].astype(np.float32)).all()
    assert (weights.arrays["layers.0.fwd.bias"][8:] == arrays["bias_ih_l0"][8:]).all()
    assert (weights.arrays["layers.0.fwd.bias_hn"] == arrays["bias_hh_l0"][8:]).all()


NETWORKS = {
    "pytorch_convgru": convgru.network("gru", 3, [4, 6], [3, 5]),
    "convlstm_pytorch": convgru.network("lstm", 2, [4, 3], [(3, 5), 1]),
    f"{KAMO}.gru": convgru.network("gru", 2, [4, 4], (2, 3), reset="after"),
    f"{KAMO}.lstm": convgru.network("lstm", 2, 4, 4, 2, ndim=1),
    f"{KAMO}.rnn": convgru.network("rnn", 2, [3, 5], 3, ndim=3),
    f"{KAMO}.peephole": convgru.network("lstm", 2, [3, 2], 2, peephole="conv"),
    "biconvgru": convgru.network("gru", 3, [4, 6], [3, 5]),
}
BOTH_WAYS = {
    f"{KAMO}.gru": convgru.network("gru", 2, [4, 4], (2, 3), reset="after", bidirectional=True),
    f"{KAMO}.peephole": convgru.network("lstm", 2, [3, 2], 2, peephole="conv", bidirectional=True, ndim=1),
    "biconvgru": convgru.network("gru", 3, [4, 6], [3, 5], bidirectional="stack"),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("layout", NETWORKS)
def test_out_and_in_again_is_equal_to_the_byte(layout, dtype, bias):
    _there_and_back(NETWORKS[layout], layout, dtype, bias)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layout", BOTH_WAYS)
def test_both_directions_too(layout, bias):
    _there_and_back(BOTH_WAYS[layout], layout, "float32", bias)


def _there_and_back(spec, layout, dtype, bias):
    layers = tuple(replace(layer, bias=bias) for layer in spec.layers)
    weights = _random(replace(spec, layers=layers), dtype)
    foreign = importers.export(weights, layout)
    back = convgru.adopt(foreign)
    assert back.equal(weights)
    assert convgru.adopt({f"net.module.{name}": array for name, array in foreign.items()}).equal(weights)
    again = importers.export(back, layout)
    assert {name: array.tobytes() for name, array in again.items()} == {
        name: a.tobytes() for name, a in foreign.items()
    }


def _random(spec, dtype="float64"):
    rng = np.random.default_rng(1)
    shapes = convgru.parameter_shapes(spec)
    arrays = {
        name: rng.standard_normal(shape).astype(convgru.weights.dtype_of(dtype)) for name, shape in shapes.items()
    }
    for array in arrays.values():
        array.flat[0] = -0.0  # the one number that adding zero changes
    return convgru.Weights(spec, arrays)


def test_export_gives_back_the_originals_bytes(golden):
    for name in ("pytorch_convgru", "convlstm_pytorch", "biconvgru"):
        _, state_dict, _ = golden(name)
        exported = importers.export(convgru.adopt(state_dict), name)
        assert exported.keys() == state_dict.keys()
        assert all(exported[key].tobytes() == array.tobytes() for key, array in state_dict.items())


def test_tensors_of_other_frameworks_are_taken_by_what_they_can_do(golden):
    class Torch:
        def __init__(self, array):
            self.array, self.shape, self.dtype = array, array.shape, f"torch.{array.dtype}"

        def detach(self):
            return self

        cpu = detach

        def float(self):
            return self.array.astype(np.float32)

        def __array__(self, dtype=None, copy=None):
            if self.array.dtype == ml_dtypes.bfloat16:
                raise TypeError("Got unsupported ScalarType BFloat16")
            return self.array

    class MindSpore:
        def __init__(self, array):
            self.array, self.shape, self.dtype = array, array.shape, array.dtype

        def asnumpy(self):
            return self.array

    _, state_dict, _ = golden("convlstm_pytorch")
    plain = convgru.adopt(state_dict)
    for kind in (Torch, MindSpore, np.ndarray.tolist):
        assert convgru.adopt({name: kind(array) for name, array in state_dict.items()}).equal(plain)
    half = {name: array.astype(ml_dtypes.bfloat16) for name, array in state_dict.items()}
    assert convgru.adopt({name: Torch(array) for name, array in half.items()}).equal(convgru.adopt(half))


def test_the_arrays_taken_are_copies(golden):
    _, state_dict, _ = golden("convlstm_pytorch")
    weights = convgru.adopt(state_dict)
    before = {name: array.copy() for name, array in weights.arrays.items()}
    for array in state_dict.values():
        array += 1
    assert all((weights.arrays[name] == array).all() for name, array in before.items())


def test_prefix_chooses_one_of_several_networks():
    one, two = _random(convgru.network("lstm", 1, 2)), _random(convgru.network("lstm", 2, 3))
    arrays = {
        **{f"encoder.{k}": v for k, v in importers.export(one, "convlstm_pytorch").items()},
        **{f"decoder.{k}": v for k, v in importers.export(two, "convlstm_pytorch").items()},
        "head.weight": np.ones((1, 3, 1, 1)),
    }
    with pytest.raises(
        convgru.WeightsError, match=r"choose one by prefix=: 'decoder\.' \(convlstm_pytorch\), 'encoder\.' \("
    ):
        convgru.adopt(arrays)
    assert convgru.adopt(arrays, prefix="encoder.").equal(one)
    assert convgru.adopt(arrays, prefix="decoder").equal(two)
    with pytest.raises(convgru.WeightsError, match=r"that begin with 'middle\.'"):
        convgru.adopt(arrays, prefix="middle.")


def test_nonlinearity_is_a_hint():
    weights = _random(convgru.network("rnn", 1, 2, activation="relu"))
    foreign = importers.export(weights, KAMO)
    assert convgru.adopt(foreign, nonlinearity="relu").equal(weights)
    assert convgru.adopt(foreign).spec.layers[0].activation == "tanh"


def _foreign(layout="pytorch_convgru"):
    return importers.export(_random(NETWORKS[layout]), layout)


def _without(name, layout="pytorch_convgru"):
    return {key: array for key, array in _foreign(layout).items() if key != name}


def _with(layout="pytorch_convgru", **arrays):
    return {**_foreign(layout), **{name.replace("__", "."): array for name, array in arrays.items()}}


GATE = "ConvGRUCell_00.update_gate.weight"
REFUSED = {
    "nothing": ({}, {}, "adopt expected arrays, got none"),
    "not a mapping": ([1], {}, "mapping from names to arrays, got list"),
    "a module name that is a number": ({3: np.ones(2)}, {}, "mapping from names"),
    "strange names": ({"a": np.ones(2)}, {}, "no known layout fits the arrays 'a'\nknown are biconvgru, "),
    "unknown layout": (_foreign(), {"layout": "caffe"}, "layout expected one of pytorch_convgru"),
    "other layout": (_foreign(), {"layout": "convlstm_pytorch"}, "no array is called like 'cell_list.0.conv.weight'"),
    "weight missing": (_without(GATE), {}, f"'{GATE}' is missing"),
    "bias missing": (_without("ConvGRUCell_00.update_gate.bias"), {}, "'ConvGRUCell_00.update_gate.bias' is missing"),
    "layer missing": (
        {key: array for key, array in _foreign().items() if "_00" not in key},
        {},
        "'ConvGRUCell_00.reset_gate.weight' is missing",
    ),
    "gate of another size": (
        _with(**{GATE.replace(".", "__"): np.ones((4, 8, 3, 3))}),
        {},
        r"expected shape \(4, 7, 3, 3\), got \(4, 8",
    ),
    "weight without axes": (_with(ConvGRUCell_00__reset_gate__weight=np.ones(4)), {}, r"has shape \(4,\)"),
    "even kernel": (
        {k: (a[..., :2, :2] if a.ndim == 4 else a) for k, a in _foreign().items()},
        {},
        r"even kernel \(2, 2\), with which the original cannot run",
    ),
    "array too many": (
        {f"net.{key}": array for key, array in _with(ConvGRUCell_00__norm__weight=np.ones(4)).items()},
        {},
        "it has no place for 'net.ConvGRUCell_00.norm.weight'",
    ),
    "half of a direction": (
        _with(f"{KAMO}.gru", weight_ih_l0_reverse=np.ones((12, 2, 2, 3))),
        {},
        "'weight_hh_l0_reverse' is missing",
    ),
    "half of the peepholes": (
        _with(f"{KAMO}.lstm", weight_pi_l0=np.ones((4, 4, 4))),
        {},
        "peephole .*'weight_pf_l0' is missing",
    ),
    "a batch norm without its variance": (
        {
            "conv_lstm_cells.0.gates.0.conv_x.weight": np.ones((4, 1, 3, 3)),
            "conv_lstm_cells.0.gates.0.conv_h.weight": np.ones((4, 1, 3, 3)),
        },
        {},
        "'conv_lstm_cells.0.gates.0.bn2d.weight' is missing",
    ),
    "groups that do not divide": (
        _foreign(f"{KAMO}.gru"),
        {"groups": 2},
        r"expected shape \(12, 2, 2, 3\), got \(12, 4",
    ),
    "groups that are no number": (_foreign(f"{KAMO}.gru"), {"groups": 0}, "groups expected a positive integer, got 0"),
    "hint of no bias": (_foreign(f"{KAMO}.gru"), {"bias": False}, "the arrays say bias=True, the hint says False"),
    "hint of a stride of nothing": (_foreign(f"{KAMO}.gru"), {"stride": 0}, "stride expected a positive integer"),
    "hint of too much dropout": (_foreign("biconvgru"), {"dropout": 1.5}, "dropout expected a probability"),
    "hint unknown": (_foreign(), {"colour": 1}, "takes no hint 'colour', only input_size"),
    "hint of other channels": (_foreign(), {"input_size": 4}, "arrays say input_size=3, the hint says 4"),
    "hint of other layers": (_foreign(), {"n_layers": 3}, "arrays say n_layers=2"),
    "hint of other kernels": (_foreign(), {"kernel_sizes": [3, 3]}, r"arrays say kernel_sizes=\[\(3, 3\), \(5, 5\)\]"),
    "hint of too many kernels": (_foreign(), {"kernel_sizes": [3, 5, 3]}, "the hint says"),
    "hint of two directions": (
        _foreign(f"{KAMO}.gru"),
        {"bidirectional": True},
        "the arrays say bidirectional=False, the hint says True",
    ),
    "hint of an unknown nonlinearity": (
        _foreign(f"{KAMO}.rnn"),
        {"nonlinearity": "swish"},
        "activation expected one of",
    ),
    "dtypes mixed": (
        {**_foreign(), GATE: np.ones((4, 7, 3, 3), np.float32)},
        {},
        "one dtype for all arrays, got float32, float64",
    ),
    "integers": ({key: array.astype(int) for key, array in _foreign().items()}, {}, "dtype expected one of float64"),
    "objects": ({**_foreign(), GATE: np.full((4, 7, 3, 3), None)}, {}, "float64, object"),
    "not arrays": ({**_foreign(), GATE: [[1], [1, 2]]}, {}, "to be an array, got list"),
    "NaN": ({**_foreign(), GATE: np.full((4, 7, 3, 3), np.nan)}, {}, "expected finite numbers"),
    "an LSTM of torch.nn with projections": (
        {"weight_ih_l0": np.ones((8, 3)), "weight_hh_l0": np.ones((8, 2)), "weight_hr_l0": np.ones((2, 2))},
        {},
        "torch.nn.lstm .*it has no place for 'weight_hr_l0'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_a_weights_error_with_the_reason(name):
    arrays, options, message = REFUSED[name]
    with pytest.raises(convgru.WeightsError, match=message):
        convgru.adopt(arrays, **options)


def test_the_original_of_bidirectional_conv_lstm_runs_without_strides_only(golden):
    with pytest.raises(convgru.WeightsError, match="the original runs with stride=1 only, got 2"):
        convgru.adopt(golden("bidirectional_conv_lstm")[1], stride=2)


@pytest.mark.parametrize(
    ("spec", "layout"),
    [
        (convgru.network("lstm", 1, 2), "pytorch_convgru"),
        (convgru.network("gru", 1, 2, reset="after"), "pytorch_convgru"),
        (convgru.network("gru", 1, 2, ndim=1), "pytorch_convgru"),
        (convgru.network("gru", 1, 2, 4), "pytorch_convgru"),
        (convgru.network("gru", 1, 2, dilation=2), "pytorch_convgru"),
        (convgru.network("gru", 1, 2, padding="valid"), "pytorch_convgru"),
        (convgru.network("gru", 1, 2, activation="relu"), "pytorch_convgru"),
        (convgru.network("lstm", 1, 2, recurrent_kernel_size=5), "convlstm_pytorch"),
        (convgru.network("gru", 1, 2), KAMO),
        (convgru.network("gru", 1, 2, norm=1), "pytorch_convgru"),
        (convgru.network("gru", 1, 2, bidirectional=True), "pytorch_convgru"),
        (convgru.network("gru", 1, 2, bidirectional=True), "biconvgru"),
        (convgru.network("gru", 1, 2, bidirectional="stack", merge="sum"), "biconvgru"),
        (convgru.network("gru", 2, 2, groups=2, reset="after"), KAMO),
        (convgru.network("gru", 1, 2, stride=2, reset="after"), KAMO),
        (convgru.network("lstm", 1, 2, peephole="hadamard"), KAMO),
        (convgru.network("lstm", 1, 2), "bidirectional_conv_lstm"),
        (convgru.forecaster("gru", 1, 2), "pytorch_convgru"),
        (convgru.network("gru", 1, 2), "keras"),
        (convgru.network("gru", 1, 2), "caffe"),
        (convgru.network("lstm", 1, [2, 2], padding="valid"), "keras"),
        (convgru.network("lstm", 1, 2, recurrent_dilation=2), "keras"),
        (convgru.network("lstm", 1, 2, bias=False), "linen"),
        (convgru.network("gru", 1, 2, reset="after"), "torch.nn"),
    ],
)
def test_export_refuses_what_the_original_does_not_have(spec, layout):
    with pytest.raises(convgru.WeightsError, match=re.compile("has no|layout expected", re.DOTALL)):
        importers.export(convgru.init(spec), layout)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_a_foreign_file_is_recognised(tmp_path, suffix, golden):
    from safetensors.numpy import save_file

    _, state_dict, _ = golden("pytorch_convgru")
    path = tmp_path / f"foreign{suffix}"
    if suffix == ".npz":
        np.savez_compressed(path, **state_dict)
    else:
        save_file(state_dict, path)
    plain = convgru.adopt(state_dict)
    assert convgru.read(path).equal(plain)
    assert convgru.read(path, "pytorch_convgru", input_size=3).equal(plain)
    with pytest.raises(convgru.WeightsError, match=f"foreign{suffix}: no known layout"):
        convgru.read(path, "convlstm_pytorch")


def test_a_file_of_ours_takes_no_hints(tmp_path):
    convgru.write(_random(NETWORKS["pytorch_convgru"]), tmp_path / "w.npz")
    with pytest.raises(convgru.WeightsError, match="needs no prefix and no hints"):
        convgru.read(tmp_path / "w.npz", input_size=3)
