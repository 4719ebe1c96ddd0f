"""Drop-in for pytorch_convgru's MindSpore ports: numbers, names and containers in both modes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

import convgru
from convgru import reference
from convgru.importers import export
from convgru.mindspore.compat.pytorch_convgru import ConvGRU, ConvGRUCell
from convgru.weights import Weights

GOLDEN = dict(np.load(Path(__file__).parents[1] / "goldens" / "pytorch_convgru.npz"))
TORCH = {name.removeprefix("state_dict/"): array for name, array in GOLDEN.items() if name.startswith("state_dict/")}
DTYPES = {"float32": (ms.float32, 1e-5), "float64": (ms.float64, 1e-12)}


def own(name: str) -> str:
    """``cell_1.…`` for the original's ``ConvGRUCell_01.…``."""
    head, _, rest = name.partition(".")
    return f"cell_{int(head[-2:])}.{rest}"


def saved(arrays: dict[str, np.ndarray], path: Path, dtype: Any = ms.float32) -> dict[str, Any]:
    """The arrays as a checkpoint file of MindSpore's gives them back."""
    entries = [{"name": name, "data": ms.Parameter(ms.Tensor(array, dtype))} for name, array in arrays.items()]
    ms.save_checkpoint(entries, str(path / "old.ckpt"))
    loaded: dict[str, Any] = ms.load_checkpoint(str(path / "old.ckpt"))
    return loaded


def original(dtype: Any = ms.float32) -> Any:
    """The drop-in with the parameters of the golden."""
    net = ConvGRU(3, [4, 6], [3, 5], 2, has_bias=True, dtype=dtype)
    for name, parameter in net.parameters_and_names():
        theirs = next(array for key, array in TORCH.items() if own(key) == name)
        parameter.set_data(ms.Tensor(theirs, dtype))
    return net


def frame(t: int, dtype: Any = ms.float32) -> Any:
    """A frame of the golden's input."""
    return ms.Tensor(GOLDEN["x"][t], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_originals_numbers_frame_by_frame(dtype: str, mode: str) -> None:
    kind, tolerance = DTYPES[dtype]
    net, hidden = original(kind), None
    for t in range(4):
        hidden = net(frame(t, kind), hidden)
        assert type(hidden) is list
        for layer, h in enumerate(hidden):
            assert np.abs(h.asnumpy() - GOLDEN[f"h_t{t}_l{layer}"]).max() < tolerance


NAMES: dict[str, tuple[bool, Callable[[str], str]]] = {
    "own": (False, own),
    "own, inside a model": (False, lambda name: "model.gru." + own(name)),
    "torch's": (True, lambda name: name),
    "torch's, inside a model": (True, lambda name: "net." + name),
}


@pytest.mark.parametrize("style", NAMES)
def test_old_checkpoints_load(style: str, tmp_path: Path) -> None:
    torch_names, named = NAMES[style]
    net = ConvGRU(3, [4, 6], [3, 5], 2, has_bias=True, torch_names=torch_names)
    missing, _ = ms.load_param_into_net(net, saved({named(name): array for name, array in TORCH.items()}, tmp_path))
    assert missing == []
    assert convgru.read(tmp_path / "old.ckpt").equal(convgru.extract(net))
    for layer, h in enumerate(net(frame(0))):
        assert np.abs(h.asnumpy() - GOLDEN[f"h_t0_l{layer}"]).max() < 1e-5


def test_the_checkpoint_it_writes_has_the_original_names(tmp_path: Path) -> None:
    ms.save_checkpoint(original(), str(tmp_path / "new.ckpt"))
    written = ms.load_checkpoint(str(tmp_path / "new.ckpt"))
    assert {name: p.shape for name, p in written.items()} == {own(name): array.shape for name, array in TORCH.items()}


def test_without_biases_there_are_none_and_they_mean_zero(tmp_path: Path) -> None:
    weights = {own(name): array for name, array in TORCH.items() if name.endswith("weight")}
    net = ConvGRU(3, [4, 6], [3, 5], 2)
    assert [name for name, _ in net.parameters_and_names()] == list(weights)
    assert ms.load_param_into_net(net, saved(weights, tmp_path)) == ([], [])
    zeros = {name: array * (0 if name.endswith("bias") else 1) for name, array in TORCH.items()}
    y, _ = reference.run(convgru.adopt(zeros), GOLDEN["x"][:1])
    assert np.abs(net(frame(0))[-1].asnumpy() - y[0]).max() < 1e-5


def test_gradients_of_parameters_input_and_states(mode: str) -> None:
    spec = convgru.network("gru", 2, [3, 2], [3, 2], 2)  # an even kernel too
    rng = np.random.default_rng(4)
    weights = Weights(
        spec, {n: 0.4 * rng.standard_normal(a.shape) for n, a in convgru.init(spec, 0, "float64").arrays.items()}
    )
    x, h0, h1 = (rng.standard_normal(shape) for shape in ((2, 2, 2, 4, 3), (2, 3, 4, 3), (2, 2, 4, 3)))
    out = rng.standard_normal((2, 2, 2, 4, 3))
    final = tuple(rng.standard_normal(h.shape) for h in (h0, h1))
    wanted = reference.gradient(weights, x, (h0, h1), (out, final))

    net = ConvGRU(2, [3, 2], [3, 2], 2, has_bias=True, dtype=ms.float64)
    parameters = dict(net.parameters_and_names())
    for name, parameter in parameters.items():
        parameter.set_data(ms.Tensor(_foreign(weights.arrays, spec, name)))
    weighing = [ms.Tensor(a) for a in (*out, *final)]

    class Loss(nn.Cell):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.weighing = net, tuple(weighing)

        def construct(self, first: Any, second: Any, h0: Any, h1: Any) -> Any:
            hidden = self.net(first, [h0, h1])
            total = (hidden[-1] * self.weighing[0]).sum()
            hidden = self.net(second, hidden)
            total = total + (hidden[-1] * self.weighing[1]).sum()
            return total + (hidden[0] * self.weighing[2]).sum() + (hidden[1] * self.weighing[3]).sum()

    derive = ms.grad(Loss(), (0, 1, 2, 3), tuple(parameters.values()))
    inputs, rest = derive(*(ms.Tensor(a) for a in (*x, h0, h1)))
    expected = [*wanted["x"], wanted["state.0.h"], wanted["state.1.h"]]
    for got, want in zip(inputs, expected, strict=True):
        assert np.abs(got.asnumpy() - want).max() < 1e-12 * max(1, np.abs(want).max())
    for (name, _), got in zip(parameters.items(), rest, strict=True):
        want = _foreign(wanted, spec, name)
        assert np.abs(want).max() > 1e-3
        assert np.abs(got.asnumpy() - want).max() < 1e-12 * max(1, np.abs(want).max())


ROWS = {"reset_gate": 0, "update_gate": 1, "out_gate": 2}


def _foreign(canonical: Any, spec: Any, name: str) -> np.ndarray:
    """The original's array of this name: one gate's rows for [x, h], negated for z."""
    cell, gate, kind = name.split(".")
    layer, row = int(cell[-1]), ROWS[gate]
    hidden, head = spec.layers[layer].hidden_channels, f"layers.{layer}.fwd."
    joined = canonical[head + "bias"]
    if kind == "weight":
        joined = np.concatenate([canonical[head + "weight_ih"], canonical[head + "weight_hh"]], 1)
    own: np.ndarray = joined[row * hidden : (row + 1) * hidden]
    return -own if gate == "update_gate" else own


def test_a_new_state_does_not_compile_again(graph: str) -> None:
    net = original()
    hidden = net(frame(1), net(frame(0)))
    compiled = len(net.compile_cache)
    for t in (2, 3):
        hidden = net(frame(t), hidden)
        assert np.abs(hidden[1].asnumpy() - GOLDEN[f"h_t{t}_l1"]).max() < 1e-5
    assert len(net.compile_cache) == compiled
    nn.Cell.__call__(net, frame(0), tuple(hidden))
    assert len(net.compile_cache) > compiled, "a plain tuple compiles again: the wrapping is what this test is about"


def test_inside_a_jitted_function() -> None:
    net = original()

    @ms.jit
    def roll(x: Any) -> Any:
        hidden = net(x[0])
        for t in range(1, 4):
            hidden = net(x[t], hidden)
        return hidden

    for layer, h in enumerate(roll(ms.Tensor(GOLDEN["x"], ms.float32))):
        assert np.abs(h.asnumpy() - GOLDEN[f"h_t3_l{layer}"]).max() < 1e-5


def test_training_lowers_the_loss() -> None:
    ms.set_seed(0)
    rng = np.random.default_rng(0)
    x, target = (ms.Tensor(rng.standard_normal((2, c, 4, 4)), ms.float32) for c in (1, 3))
    net = ConvGRU(1, [2, 3], 3, 2)
    optimiser = nn.Adam(net.trainable_params(), 0.05)
    derive = ms.value_and_grad(lambda: ((net(x)[-1] - target * 0.1) ** 2).mean(), None, optimiser.parameters)
    losses = []
    for _ in range(15):
        loss, gradients = derive()
        optimiser(gradients)
        losses.append(float(loss.asnumpy()))
    assert losses[-1] < 0.5 * losses[0]


def test_the_readme_example_and_any_size() -> None:
    net = ConvGRU(input_size=8, hidden_sizes=[32, 64, 16], kernel_sizes=[3, 5, 3], n_layers=3)
    hidden = net(ms.ops.ones((1, 8, 64, 64), ms.float32))
    assert [h.shape for h in hidden] == [(1, 32, 64, 64), (1, 64, 64, 64), (1, 16, 64, 64)]
    assert [h.shape for h in net(ms.ops.ones((2, 8, 5, 7), ms.float32), [])] == [
        (2, 32, 5, 7),
        (2, 64, 5, 7),
        (2, 16, 5, 7),
    ]


def test_the_cell_alone(mode: str) -> None:
    cell = ConvGRUCell(3, 4, 3, has_bias=True)
    for name, parameter in cell.parameters_and_names():
        parameter.set_data(ms.Tensor(TORCH[f"ConvGRUCell_00.{name}"], ms.float32))
    h = None
    for t in range(2):
        h = cell(frame(t), h)
        assert np.abs(h.asnumpy() - GOLDEN[f"h_t{t}_l0"]).max() < 1e-5


def test_mixed_precision_frame_by_frame(mode: str) -> None:
    net, hidden = original().to_float(ms.float16), None
    for t in range(2):
        hidden = net(frame(t), hidden)
        for layer, h in enumerate(hidden):
            assert h.dtype == ms.float32
            error = np.abs(h.asnumpy() - GOLDEN[f"h_t{t}_l{layer}"]).max()
            assert 1e-5 < error < 16 * np.finfo(np.float16).eps


def test_initial_weights_are_orthogonal_and_biases_zero() -> None:
    cell = ConvGRUCell(2, 4, 3, has_bias=True)
    for gate in (cell.reset_gate, cell.update_gate, cell.out_gate):
        flat = gate.weight.asnumpy().reshape(4, -1)
        assert np.abs(flat @ flat.T - np.eye(4)).max() < 1e-5
        assert not gate.bias.asnumpy().any()


def test_extract_gives_what_the_importer_makes_of_the_checkpoint() -> None:
    weights = convgru.extract(original(ms.float64))
    adopted = convgru.adopt(TORCH)
    assert weights.spec == adopted.spec
    for name, array in adopted.arrays.items():
        assert np.array_equal(weights.arrays[name], array)
    exported = export(weights, "pytorch_convgru")
    assert all(np.array_equal(exported[name], array) for name, array in TORCH.items())


WRONG: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "channels": (
        lambda: original()(ms.ops.ones((1, 2, 4, 4))),
        ValueError,
        "expected 3 input channels on axis 1, got 2",
    ),
    "states": (lambda: original()(frame(0), [frame(0)]), ValueError, "state"),
    "a state's shape": (
        lambda: ConvGRUCell(3, 4, 3)(frame(0), frame(0)),
        ValueError,
        r"\(2, 4, 7, 9\), got \(2, 3, 7, 9\)",
    ),
    "dtype": (lambda: original()(frame(0, ms.float64)), TypeError, "float32"),
    "an array": (lambda: original()(GOLDEN["x"][0]), TypeError, "mindspore.Tensor"),
    "a list too short": (lambda: ConvGRU(3, [4], 3, 2), ValueError, "2"),
    "bfloat16": (lambda: ConvGRUCell(3, 4, 3, dtype=ms.bfloat16), convgru.UnsupportedError, "bfloat16"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_calls(name: str) -> None:
    call, kind, words = WRONG[name]
    with pytest.raises(kind, match=words):
        call()
