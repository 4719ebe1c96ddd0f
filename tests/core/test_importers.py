"""Foreign layouts: the originals' numbers, exact round trips, and sentences for what does not fit."""

from __future__ import annotations

import re

import ml_dtypes
import numpy as np
import pytest

import convgru
from convgru import importers, reference

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
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("layout", NETWORKS)
def test_out_and_in_again_is_equal_to_the_byte(layout, dtype, bias):
    layers = tuple(convgru.CellSpec(**{**vars(layer), "bias": bias}) for layer in NETWORKS[layout].layers)
    weights = _random(convgru.NetworkSpec(layers), dtype)
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
    for name in ("pytorch_convgru", "convlstm_pytorch"):
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
    with pytest.raises(convgru.WeightsError, match=r"choose one by prefix=: 'decoder\.', 'encoder\.'"):
        convgru.adopt(arrays)
    assert convgru.adopt(arrays, prefix="encoder.").equal(one)
    assert convgru.adopt(arrays, prefix="decoder.").equal(two)
    with pytest.raises(convgru.WeightsError, match=r"names begin with 'middle\.'"):
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
    "nothing": ({}, {}, "names begin with '', got none"),
    "not a mapping": ([1], {}, "mapping from names to arrays, got list"),
    "a module name that is a number": ({3: np.ones(2)}, {}, "mapping from names"),
    "strange names": (
        {"a": np.ones(2)},
        {},
        r"pytorch_convgru \(jacobkimmel/pytorch_convgru\): no array is called like 'ConvGRUCell_00",
    ),
    "unknown layout": (_foreign(), {"layout": "keras"}, "layout expected one of pytorch_convgru"),
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
    "bidirectional": (_with(f"{KAMO}.gru", weight_ih_l0_reverse=np.ones(3)), {}, "it is bidirectional"),
    "peepholes": (_with(f"{KAMO}.lstm", weight_pi_l0=np.ones(3)), {}, "it has peepholes"),
    "hint unknown": (_foreign(), {"colour": 1}, "takes no hint 'colour', only input_size"),
    "hint of other channels": (_foreign(), {"input_size": 4}, "arrays say input_size=3, the hint says 4"),
    "hint of other layers": (_foreign(), {"n_layers": 3}, "arrays say n_layers=2"),
    "hint of other kernels": (_foreign(), {"kernel_sizes": [3, 3]}, r"arrays say kernel_sizes=\[\(3, 3\), \(5, 5\)\]"),
    "hint of too many kernels": (_foreign(), {"kernel_sizes": [3, 5, 3]}, "the hint says"),
    "hint of a stride": (_foreign(f"{KAMO}.gru"), {"stride": 2}, "with stride=1 only, got 2"),
    "hint of two directions": (_foreign(f"{KAMO}.gru"), {"bidirectional": True}, "with bidirectional=False only"),
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
    "one-dimensional kernels of torch.nn.GRU": (
        {"weight_ih_l0": np.ones((6, 3)), "weight_hh_l0": np.ones((6, 2))},
        {},
        r"'weight_hh_l0' has shape \(6, 2\)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_a_weights_error_with_the_reason(name):
    arrays, options, message = REFUSED[name]
    with pytest.raises(convgru.WeightsError, match=message):
        convgru.adopt(arrays, **options)


def test_the_bidirectional_golden_is_refused_with_a_sentence(golden):
    with pytest.raises(
        convgru.WeightsError, match="it is bidirectional, and this version of convgru adopts one direction"
    ):
        convgru.adopt(golden(f"{KAMO}.conv2d_gru")[1])


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
        (convgru.forecaster("gru", 1, 2), "pytorch_convgru"),
        (convgru.network("gru", 1, 2), "keras"),
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
