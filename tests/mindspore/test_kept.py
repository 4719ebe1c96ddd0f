"""Training in graph mode: layers that keep their gates, alone and beside those that do not."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

import convgru
import convgru.mindspore as cm
from convgru import reference
from convgru.calls import Extras
from convgru.initialization import init
from convgru.spec import Norm, network
from convgru.spec.shapes import nest_state, state_leaves
from convgru_mindspore import direction


def test_gates_are_kept_in_training_unless_the_layers_are_told_not_to(
    graph: str, monkeypatch: pytest.MonkeyPatch, eps_off: Any
) -> None:
    """Without the operations that keep them training fails, and nothing else does."""
    monkeypatch.setattr(direction, "KINDS", {})
    weights, x = init(network("lstm", 2, 3), 0), np.random.default_rng(0).standard_normal((6, 1, 2, 4, 3), np.float32)
    net = convgru.build(weights, "mindspore")
    net.set_train()
    net.layers.set_train(False)
    assert eps_off(net(ms.Tensor(x))[0], reference.run(weights, x)[0]) < 15
    net = convgru.build(weights, "mindspore")
    net.set_train()
    with pytest.raises(ValueError, match="lstm does not exist"):
        net(ms.Tensor(x))


MIXED: dict[str, tuple[Any, Any]] = {
    "gru, rnn": (network("gru", 2, 3), network("rnn", 2, 4)),
    "lstm, lstm with norm": (network("lstm", 2, [3, 4]), network("lstm", 2, 4, norm=Norm((4,)))),
    "gru, lstm with peephole": (network("gru", 2, 3, reset="after"), network("lstm", 2, 3, peephole="conv")),
    "groups in one layer": (network("gru", 2, [4, 4], groups=[1, 2]), network("lstm", 2, [3, 2])),
}
"""Networks of which one keeps its gates and the other, or a layer of it, does not."""


@pytest.mark.parametrize("lengths", [False, True], ids=["", "lengths"])
@pytest.mark.parametrize("name", MIXED)
def test_both_operations_train_in_one_graph(name: str, lengths: bool, graph: str, eps_off: Any) -> None:
    specs, x = MIXED[name], np.random.default_rng(1).standard_normal((6, 2, 2, 4, 3), np.float32)
    weights = [init(spec, k) for k, spec in enumerate(specs)]
    extras = Extras(lengths=np.array([4, 6])) if lengths else Extras()
    seq_length = ms.Tensor([4, 6], ms.int32) if lengths else None

    class Both(nn.Cell):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = (convgru.build(each, "mindspore") for each in weights)

        def construct(self, x: Any) -> Any:
            return self.a(x, seq_length=seq_length)[0], self.b(x, seq_length=seq_length)[0]

    class Total(nn.Cell):
        def __init__(self) -> None:
            super().__init__()
            self.both = Both()

        def construct(self, x: Any) -> Any:
            a, b = self.both(x)
            return (a * a).sum() + (b * b).sum()

    total = Total()
    total.set_train()
    parameters = total.trainable_params()
    _, gradients = ms.value_and_grad(total, None, parameters)(ms.Tensor(x))
    got = {parameter.name: gradient for parameter, gradient in zip(parameters, gradients, strict=True)}
    for prefix, each in zip("ab", weights, strict=True):
        y, final = reference.run(each, x, lengths=extras.lengths)
        zeros = nest_state(each.spec, {leaf: part * 0 for leaf, part in state_leaves(each.spec, final)})
        wanted = reference.gradient(each, x, None, (2 * y, zeros), extras=extras)
        for parameter in each.arrays:
            assert eps_off(got[f"both.{prefix}.{parameter}"], wanted[parameter]) < 100, parameter


@pytest.mark.parametrize("options", [{"padding": "valid"}, {"padding_mode": "reflect"}], ids=["valid", "reflect"])
def test_training_asks_no_image_of_one_pixel(options: Any, mode: str) -> None:
    """What draws no masks needs no shapes of them."""
    net = cm.ConvGRU(2, 3, **options)
    net.set_train()
    y, _ = net(ms.ops.ones((6, 1, 2, 8, 8), ms.float32))
    assert y.shape[0] == 6
