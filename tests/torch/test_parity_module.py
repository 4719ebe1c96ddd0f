"""The case table on a ConvGRU in plain PyTorch: a correct one passes, a wrong one is caught."""

import pytest
import torch
from support.plain_convgru import PlainConvGRU

import convgru
from convgru import parity
from convgru.parity import table as case_table
from convgru.spec import network

TABLE = case_table.table()
CASES = [case for case in TABLE if case.name.startswith("gru-before-") and case.spec.ndim == 2]


class Adapter:
    """What the table needs to run it: which networks it computes, and where its parameters are."""

    tensors = "torch"
    build = PlainConvGRU

    def run(self, spec, arrays, x, state):
        layer = spec.recurrent.layers[0]
        mine = network("gru", spec.in_channels, layer.hidden_channels, layer.kernel_size, ndim=spec.ndim)
        if spec != mine or spec.ndim != 2 or any(size % 2 == 0 for size in layer.kernel_size):
            raise convgru.UnsupportedError("one layer of ConvGRU on images, reset before, odd kernels, zero padding")
        net = self.build(spec.in_channels, layer.hidden_channels, layer.kernel_size)
        both = torch.cat([arrays["layers.0.fwd.weight_ih"], arrays["layers.0.fwd.weight_hh"]], 1)
        cut = 2 * layer.hidden_channels
        weights = {"gates.weight": both[:cut], "candidate.weight": both[cut:]}
        bias = arrays["layers.0.fwd.bias"]
        weights |= {"gates.bias": bias[:cut], "candidate.bias": bias[cut:]}
        h = x.new_zeros(x.shape[1], layer.hidden_channels, *x.shape[3:]) if state is None else state[0]
        output, h = torch.func.functional_call(net, weights, (x, h))
        return output, (h,)


def test_the_right_one_passes():
    report = parity.run([*CASES, *TABLE[::15]], module=Adapter)
    assert report.ok, report.failures()
    compared = {row.case for row in report.rows}
    assert compared >= {"gru-before-2d", "gru-before-no-state", "gru-before-wide", "gru-before-long"}
    assert {row.quantity for row in report.rows} == {"output", "state", "gradient"}
    assert "gru-before-layers float32 cpu" not in " ".join(report.declined)
    assert any("gru-before-layers" in key for key in report.declined)
    assert any("gru-before-even-kernel" in key for key in report.declined)
    assert len(report.controls) == 4


class SwappedUpdate(PlainConvGRU):
    """z and 1 − z have changed places."""

    def step(self, x, h):
        r, z = torch.sigmoid(self.gates(torch.cat([x, h], 1))).chunk(2, 1)
        return (1 - z) * h + z * torch.tanh(self.candidate(torch.cat([x, r * h], 1)))


class DetachedReset(PlainConvGRU):
    """Right forward; no gradient flows through the reset gate."""

    def step(self, x, h):
        r, z = torch.sigmoid(self.gates(torch.cat([x, h], 1))).chunk(2, 1)
        n = torch.tanh(self.candidate(torch.cat([x, r.detach() * h], 1)))
        return z * h + (1 - z) * n


class LowPrecision(PlainConvGRU):
    """Off by a hundred eps."""

    def forward(self, frames, h):
        return tuple(a * (1 + 100 * torch.finfo(a.dtype).eps) for a in super().forward(frames, h))


@pytest.mark.parametrize(
    ("net", "quantities"),
    [
        (SwappedUpdate, {"output", "state", "gradient"}),
        (DetachedReset, {"gradient"}),
        (LowPrecision, {"output", "state"}),
    ],
)
def test_a_bug_is_caught(net, quantities):
    class Broken(Adapter):
        build = net

    report = parity.run(CASES[:3], module=Broken, controls=False)
    assert {row.quantity for row in report.rows if not row.ok} >= quantities
    if net is DetachedReset:
        assert {row.quantity for row in report.rows if not row.ok} == quantities
