"""Foreign layouts: the originals' numbers, exact round trips, messages for what does not fit."""

from __future__ import annotations

import re

import ml_dtypes
import numpy as np
import pytest
from support import assert_close, load_golden, random_weights

import convgru
from convgru import importers, reference
from convgru.reference import ops
from convgru.spec.convolution import Convolution

KAMO = "convolutional_rnn"


def test_pytorch_convgru_gives_the_originals_numbers():
    meta, state_dict, arrays = load_golden("pytorch_convgru")
    weights = convgru.adopt(state_dict, **meta["args"])
    assert weights.spec == convgru.network("gru", 3, [4, 6], [3, 5])
    state = None
    for t, frame in enumerate(arrays["x"]):
        y, state = reference.run(weights, frame[None], state)
        assert_close(state[0], arrays[f"h_t{t}_l0"])
        assert_close(state[1], arrays[f"h_t{t}_l1"])
        assert_close(y[0], arrays[f"h_t{t}_l1"])


def test_convlstm_pytorch_gives_the_originals_numbers():
    meta, state_dict, arrays = load_golden("convlstm_pytorch")
    weights = convgru.adopt(state_dict, **meta["args"])
    assert weights.spec == convgru.network("lstm", 2, [4, 3], [3, 5])
    y, state = reference.run(weights, arrays["x"].swapaxes(0, 1))
    assert_close(y.swapaxes(0, 1), arrays["output_l1"])
    for layer in (0, 1):
        assert_close(state[layer][0], arrays[f"h_l{layer}"])
        assert_close(state[layer][1], arrays[f"c_l{layer}"])


def _time_first(meta, array):
    return array.swapaxes(0, 1) if meta["args"].get("batch_first") else array


@pytest.mark.parametrize("name", ["conv1d_rnn", "conv2d_gru", "conv2d_lstm", "conv2d_peephole", "conv3d_gru"])
def test_convolutional_rnn_gives_the_originals_numbers(name):
    meta, state_dict, arrays = load_golden(f"{KAMO}.{name}")
    weights = convgru.adopt(state_dict, **meta["args"])
    y, state = reference.run(weights, _time_first(meta, arrays["x"]), lengths=meta["lengths"])
    assert_close(_time_first(meta, y), arrays["output"])
    pairs = [entry if isinstance(entry, tuple) else (entry,) for entry in state]
    for part, parts in zip("hc", zip(*pairs, strict=True), strict=False):
        assert_close(np.stack(parts), arrays[part])


def test_biconvgru_gives_the_originals_numbers():
    meta, state_dict, arrays = load_golden("biconvgru")
    weights = convgru.adopt(state_dict, **meta["args"])
    assert weights.spec == convgru.network(
        "gru", 3, [4, 5], [3, 5], bidirectional="stack", output_size=(4, 3), dropout=0.2
    )
    layers, state = reference.run(weights, arrays["x"].swapaxes(0, 1), return_all_layers=True)
    for layer, y in enumerate(layers):
        assert_close(y.swapaxes(0, 1), arrays[f"output_l{layer}"])
        for direction, word in enumerate(("forward", "reverse")):
            assert_close(state[2 * layer + direction], arrays[f"state_{word}_l{layer}"])


def test_bidirectional_conv_lstm_gives_the_originals_numbers():
    """The numbers agree but for the original's quirks.

    Its backward half is in reversed time, and its states stand side by side along the width.
    """
    meta, state_dict, arrays = load_golden("bidirectional_conv_lstm")
    weights = convgru.adopt(state_dict, **meta["args"])
    assert weights.spec == convgru.network("lstm", 2, 4, bidirectional=True)
    y, ((h, c), (h_back, c_back)) = reference.run(weights, arrays["x"].swapaxes(0, 1))
    y, half = y.swapaxes(0, 1), 4
    assert_close(np.concatenate([y[:, :, :half], y[:, ::-1, half:]], 2), arrays["output"])
    assert_close(np.concatenate([h, h_back], -1), arrays["h"])
    assert_close(np.concatenate([c, c_back], -1), arrays["c"])


def test_a_batch_norm_is_folded_in_float64_and_rounded_once():
    _, state_dict, _ = load_golden("bidirectional_conv_lstm")
    single = {name: a if a.dtype.kind == "i" else a.astype(np.float32) for name, a in state_dict.items()}
    single |= {"hidden_state": np.zeros((1, 4, 7, 6), np.float32), "cell_state": np.zeros((1, 4, 7, 6), np.float32)}
    weights = convgru.adopt(single)
    exact = convgru.adopt({name: array.astype(np.float64) for name, array in single.items() if "bn2d.num" not in name})
    assert exact.astype("float32").equal(weights)
    start = "conv_lstm_cells.1.gates.0"
    s = exact.arrays["layers.0.bwd.weight_hh"] / single[f"{start}.conv_h.weight"]
    gamma, variance = (single[f"{start}.bn2d.{part}"].astype(float) for part in ("weight", "running_var"))
    assert_close(s[:, 0, 0, 0], gamma / np.sqrt(variance + 1e-5))
    without = {name: array for name, array in single.items() if not re.search(r"conv_[xh]\.bias", name)}
    assert convgru.adopt(without).spec == weights.spec  # its convolutions need no biases: the batch norm has one


@pytest.mark.parametrize("ndim", [1, 2])
def test_groups_that_cut_across_gates_become_dense(ndim):
    """Groups that divide the rows of all gates together cannot be a gate's own: a dense kernel."""
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
            ops.conv(x[..., :width], {"k": ops.kernel(weight, geometry)}, "k")
            for weight, geometry in ((whole, plain), (foreign[f"{name}_l0"], grouped))
        )
        assert_close(got, want)
        assert np.count_nonzero(whole) == foreign[f"{name}_l0"].size


def test_one_gate_keeps_its_groups():
    weights = random_weights(convgru.network("rnn", 4, 6, groups=2, bidirectional=True))
    foreign = importers.export(weights, KAMO)
    assert foreign["weight_ih_l0_reverse"].shape == (6, 2, 3, 3)
    assert convgru.adopt(foreign, groups=2).equal(weights)


def test_strides_dilations_and_dropout_are_hints():
    weights = random_weights(convgru.network("gru", 2, [4, 4], reset="after"))
    spec = convgru.adopt(importers.export(weights, KAMO), stride=[2, 1], dilation=3, dropout=0.5).spec
    layer = spec.layers[1]
    assert (layer.stride, layer.recurrent_stride, layer.padding) == ((2, 1), (2, 1), "preserve")
    assert (layer.dilation, layer.recurrent_dilation) == ((3, 3), (3, 3))
    assert spec.dropout == 0.5
    assert convgru.state_shapes(spec, 1, (6, 5)) == ((1, 4, 6, 5),) * 2


def test_a_list_is_one_for_each_layer_or_for_each_dimension():
    for kernels in ([3, 5], [5, 3]):
        foreign = importers.export(random_weights(convgru.network("gru", 2, [4, 4], kernels)), "biconvgru")
        assert convgru.adopt(foreign, kernel_size=kernels).spec.layers[0].kernel_size == (kernels[0],) * 2
    foreign = importers.export(random_weights(convgru.network("gru", 2, [4, 4], (3, 5), reset="after")), KAMO)
    assert convgru.adopt(foreign, kernel_size=[3, 5]).spec.layers[1].kernel_size == (3, 5)
    with pytest.raises(convgru.WeightsError, match="the hint says"):
        convgru.adopt(foreign, kernel_size=[5, 3])


def test_bare_cells_are_read_only_by_name():
    """Everybody calls a cell's arrays weight_ih: we do too, and mean another reset."""
    weights = random_weights(convgru.network("gru", 2, 4, reset="after"))
    foreign = importers.export(weights, f"{KAMO}.gru_cell")
    assert sorted(foreign) == ["bias_hh", "bias_ih", "weight_hh", "weight_ih"]
    assert convgru.adopt(foreign, KAMO).equal(weights)
    with pytest.raises(convgru.WeightsError, match="no known layout fits"):
        convgru.adopt(foreign)


def test_biases_of_peepholes_are_summed_in():
    weights = random_weights(convgru.network("lstm", 2, 3, peephole="conv"))
    foreign = importers.export(weights, KAMO)
    more = {f"bias_p{gate}_l0": np.full(3, float(number)) for number, gate in enumerate("ifo", start=1)}
    added = convgru.adopt({**foreign, **more}).arrays["layers.0.fwd.bias"] - weights.arrays["layers.0.fwd.bias"]
    assert_close(added, np.repeat([1.0, 2.0, 0.0, 3.0], 3))


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


def test_export_gives_back_the_originals_bytes():
    for name in ("pytorch_convgru", "convlstm_pytorch", "biconvgru"):
        _, state_dict, _ = load_golden(name)
        exported = importers.export(convgru.adopt(state_dict), name)
        assert exported.keys() == state_dict.keys()
        assert all(exported[key].tobytes() == array.tobytes() for key, array in state_dict.items())


def test_tensors_of_other_frameworks_are_taken_by_what_they_can_do():
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

        def float(self):
            return MindSpore(self.array.astype(np.float32))

        def asnumpy(self):
            return self.array

    _, state_dict, _ = load_golden("convlstm_pytorch")
    plain = convgru.adopt(state_dict)
    for kind in (Torch, MindSpore, np.ndarray.tolist):
        assert convgru.adopt({name: kind(array) for name, array in state_dict.items()}).equal(plain)
    half = {name: array.astype(ml_dtypes.bfloat16) for name, array in state_dict.items()}
    for kind in (Torch, MindSpore):
        assert convgru.adopt({name: kind(array) for name, array in half.items()}).equal(convgru.adopt(half))


def test_the_arrays_taken_are_copies():
    _, state_dict, _ = load_golden("convlstm_pytorch")
    weights = convgru.adopt(state_dict)
    before = {name: array.copy() for name, array in weights.arrays.items()}
    for array in state_dict.values():
        array += 1
    assert all((weights.arrays[name] == array).all() for name, array in before.items())


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_a_foreign_file_is_recognised(tmp_path, suffix):
    from safetensors.numpy import save_file

    _, state_dict, _ = load_golden("pytorch_convgru")
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
    convgru.write(random_weights(convgru.network("gru", 3, 4)), tmp_path / "w.safetensors")
    with pytest.raises(convgru.WeightsError, match="no prefix and no hints are needed"):
        convgru.read(tmp_path / "w.safetensors", input_size=3)
