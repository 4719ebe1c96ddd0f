"""A network of a known spec in another system's layout: all of it and nothing else, or an error."""

from __future__ import annotations

import numpy as np
import pytest
from support import random_weights

import convgru
from convgru import importers

GRU = convgru.network("gru", 3, [4, 6], [3, 5])
PEEPHOLE = convgru.network("lstm", 2, 3, peephole="conv")
LAYOUTS = {"pytorch_convgru": GRU, "convolutional_rnn": PEEPHOLE, "convlstm_pytorch": convgru.network("lstm", 2, 3)}


def exported(spec, layout="pytorch_convgru", prefix=None, seed=0):
    return importers.export(convgru.init(spec, seed), layout, prefix=prefix)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_was_exported(layout):
    weights = random_weights(LAYOUTS[layout])
    for prefix in (None, "net"):
        arrays = importers.export(weights, layout, prefix=prefix)
        assert convgru.adopt(arrays, layout, spec=weights.spec).equal(weights)
        assert convgru.adopt(arrays, layout, spec=weights.spec, prefix=prefix).equal(weights)


REFUSED = {
    "a network of more channels": (
        exported(convgru.network("gru", 3, [8, 6], [3, 5])),
        r"ConvGRUCell_00\.reset_gate\.weight' expected shape \(4, 7, 3, 3\), got \(8, 11, 3, 3\)",
    ),
    "a network of more layers": (
        exported(convgru.network("gru", 3, [4, 6, 2], [3, 5, 3])),
        "no place for 'ConvGRUCell_02",
    ),
    "an array too many": (
        {**exported(GRU), "ConvGRUCell_01.norm.weight": np.ones(6)},
        r"it has no place for 'ConvGRUCell_01\.norm\.weight'",
    ),
    "two such networks": (
        exported(GRU, prefix="a") | exported(GRU, prefix="b", seed=1),
        r"several networks, expected one: choose by prefix= of 'a\.', 'b\.'",
    ),
    "the end of another name": ({f"my{n}": a for n, a in exported(GRU).items()}, "expected ConvGRUCell_00"),
    "two dtypes": (
        {**exported(GRU), "ConvGRUCell_00.out_gate.bias": np.zeros(4)},
        "expected one dtype for all arrays, got float32, float64",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_that_network_is_refused(name):
    arrays, message = REFUSED[name]
    with pytest.raises(convgru.WeightsError, match=message):
        convgru.adopt(arrays, "pytorch_convgru", spec=GRU)


def test_a_kernel_that_lies_the_other_way():
    """It holds as many numbers, which is not enough."""
    spec, turned = (convgru.network("gru", 1, 2, kernel) for kernel in ((1, 3), (3, 1)))
    with pytest.raises(convgru.WeightsError, match=r"expected shape \(2, 3, 1, 3\), got \(2, 3, 3, 1\)"):
        convgru.adopt(exported(turned), "pytorch_convgru", spec=spec)


def test_a_direction_too_many():
    arrays = exported(convgru.network("gru", 1, 2, bidirectional="stack"), "biconvgru")
    with pytest.raises(convgru.WeightsError, match="it has no place for 'reverse_gru"):
        convgru.adopt(arrays, "biconvgru", spec=convgru.network("gru", 1, 2))


def test_biases_that_the_layout_would_leave_out_are_not_dropped():
    more = {f"bias_p{gate}_l0": np.ones(3, np.float32) for gate in "ifo"}
    arrays = {**exported(PEEPHOLE, "convolutional_rnn"), **more}
    with pytest.raises(convgru.WeightsError, match="it has no place for 'bias_pf_l0', 'bias_pi_l0', 'bias_po_l0'"):
        convgru.adopt(arrays, "convolutional_rnn", spec=PEEPHOLE)


def test_of_several_networks_the_one_that_fits():
    other = convgru.network("gru", 3, [2, 6], [3, 5])
    arrays = exported(other, prefix="a") | exported(GRU, prefix="b") | exported(GRU, prefix="c", seed=1)
    assert convgru.adopt(arrays, "pytorch_convgru", spec=other).equal(convgru.init(other))
    for prefix in ("c", "c."):
        assert convgru.adopt(arrays, "pytorch_convgru", spec=GRU, prefix=prefix).equal(convgru.init(GRU, 1))
