"""Exports load where they are meant for: torch.nn.GRU, LSTM and RNN, and the drop-ins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support import assert_close, random_weights

import convgru
from convgru import reference
from convgru.importers import export
from convgru.torch.compat import biconvgru, convlstm_pytorch, pytorch_convgru


def loaded(net: torch.nn.Module, arrays: dict[str, np.ndarray]) -> Any:
    """The module in float64 with these arrays, every one of them and no other."""
    net.double().load_state_dict(
        {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}, strict=True
    )
    return net


NATIVE: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "GRU": ("gru", torch.nn.GRU, {"reset": "after"}),
    "LSTM": ("lstm", torch.nn.LSTM, {}),
    "RNN-tanh": ("rnn", torch.nn.RNN, {}),
    "RNN-relu": ("rnn", lambda *a, **o: torch.nn.RNN(*a, nonlinearity="relu", **o), {"activation": "relu"}),
}


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("both", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("name", NATIVE)
def test_torch_nn(name: str, both: bool, bias: bool) -> None:
    cell, make, options = NATIVE[name]
    spec = convgru.network(cell, 3, [5, 5], 1, ndim=1, bidirectional=both, bias=bias, **options)
    weights = random_weights(spec)
    net = loaded(make(3, 5, 2, bidirectional=both, bias=bias), export(weights, f"torch.nn.{cell}"))
    x = np.random.default_rng(0).standard_normal((4, 2, 3))
    wanted, state = reference.run(weights, x[..., None])
    got, final = net(torch.from_numpy(x))
    assert_close(got.detach().numpy(), wanted[..., 0])
    parts = final if cell == "lstm" else (final,)
    for index, part in enumerate(parts):
        entries = np.stack([entry[index] if cell == "lstm" else entry for entry in state])[..., 0]
        assert_close(part.detach().numpy(), entries)


def test_pytorch_convgru() -> None:
    weights = random_weights(convgru.network("gru", 2, [3, 4], [3, 5]))
    net = loaded(pytorch_convgru.ConvGRU(2, [3, 4], [3, 5], 2), export(weights, "pytorch_convgru"))
    x = np.random.default_rng(0).standard_normal((3, 2, 2, 5, 4))
    y, _ = reference.run(weights, x)
    hidden = None
    for t in range(3):
        hidden = net(torch.from_numpy(x[t]), hidden)
        assert_close(hidden[-1].detach().numpy(), y[t])


def test_convlstm_pytorch() -> None:
    weights = random_weights(convgru.network("lstm", 2, [3, 4], [(3, 5), (3, 3)]))
    net = loaded(convlstm_pytorch.ConvLSTM(2, [3, 4], [(3, 5), (3, 3)], 2), export(weights, "convlstm_pytorch"))
    x = np.random.default_rng(0).standard_normal((3, 2, 2, 5, 4))
    y, (_, (h, c)) = reference.run(weights, x)
    (got,), ((got_h, got_c),) = net(torch.from_numpy(x))
    for one, other in ((got, y.swapaxes(0, 1)), (got_h, h), (got_c, c)):
        assert_close(one.detach().numpy(), other)


def test_biconvgru() -> None:
    weights = random_weights(convgru.network("gru", 2, [3, 4], 3, bidirectional="stack"))
    net = loaded(biconvgru.BiConvGRU((5, 4), 2, [3, 4], 3, 2, bidirectional=True), export(weights, "biconvgru"))
    x = np.random.default_rng(0).standard_normal((3, 2, 2, 5, 4))
    y, _ = reference.run(weights, x)
    outputs, _ = net(torch.from_numpy(x.swapaxes(0, 1).copy()))
    assert_close(outputs[-1].detach().numpy(), y.swapaxes(0, 1))


class SmallUpdateBlock(torch.nn.Module):
    """A model around a ConvGRU like RAFT's small one: h' = (1 - z) * h + z * q on [h, x]."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = torch.nn.ModuleDict({f"conv{gate}": torch.nn.Conv2d(7, 4, 3, padding=1) for gate in "zrq"})
        self.head = torch.nn.Conv2d(4, 2, 1)

    def forward(self, h: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        z, r = (torch.sigmoid(self.gru[f"conv{gate}"](torch.cat([h, x], 1))) for gate in "zr")
        return (1 - z) * h + z * torch.tanh(self.gru["convq"](torch.cat([r * h, x], 1)))


def test_the_recurrent_part_of_a_model_is_swapped_and_written_back(tmp_path: Any) -> None:
    model = SmallUpdateBlock().double()
    torch.save({"update_block." + key: value for key, value in model.state_dict().items()}, tmp_path / "raft.pth")
    spec = convgru.read(tmp_path / "raft.pth", prefix="update_block.gru").spec
    other, path = random_weights(spec), tmp_path / "gru.pt"
    convgru.write(other, path, layout="raft", prefix="gru")
    head = model.head.weight.clone()
    missing, unexpected = model.load_state_dict(torch.load(path, weights_only=True), strict=False)
    assert (sorted(missing), unexpected) == (["head.bias", "head.weight"], [])
    assert (model.head.weight == head).all()
    h, x = (
        np.random.default_rng(0).standard_normal((2, 4, 5, 6)),
        np.random.default_rng(1).standard_normal((1, 2, 3, 5, 6)),
    )
    wanted, _ = reference.run(other, x, (h,))
    assert_close(model(torch.from_numpy(h), torch.from_numpy(x[0])), wanted[0])
