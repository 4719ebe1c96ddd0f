"""What depends on specs, sizes and dtypes is worked out once, and misleads no other call."""

import sys
from pathlib import Path

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from convgru.torch import ConvGRU, ConvGRUCell, ConvLSTM, Forecaster

FRAME, SEQUENCE = torch.randn(2, 3, 8, 8), torch.randn(4, 2, 3, 8, 8)
CALLS = {
    "stack": (lambda: ConvGRU(3, [4, 5], padding_mode="reflect"), lambda net, state: net(SEQUENCE, state)),
    "step": (lambda: ConvLSTM(3, 4, peephole="hadamard"), lambda net, state: net.step(FRAME, state)),
    "cell": (lambda: ConvGRUCell(3, 4, groups=1, norm=1), lambda net, state: (None, net(FRAME, state))),
    "forecaster": (lambda: Forecaster("gru", 3, 4, patch=2), lambda net, state: net(SEQUENCE, 2, state)),
}


def files_run(call):
    """The functions of convgru.spec that a call runs, and how many Python functions in all."""
    seen, count = set(), 0

    def profile(frame, event, argument):
        nonlocal count
        if event == "call":
            count += 1
            path = Path(frame.f_code.co_filename)
            if path.parent.name == "spec":
                seen.add((path.name, frame.f_code.co_name))

    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
    return seen, count


@pytest.mark.parametrize("name", CALLS)
def test_the_second_call_plans_nothing(name):
    make, call = CALLS[name]
    net = make()
    _, many = files_run(lambda: call(net, None))
    _, state = call(net, None)
    call(net, state)
    second, fewer = files_run(lambda: call(net, state))
    planning = {"pads", "output_size", "operands", "layer_sizes", "state_shapes", "input_convolution", "check_pads"}
    assert not planning & {function for _, function in second}
    assert fewer < many


@pytest.mark.parametrize("size", [(8, 8), (9, 7), (3, 3)])
def test_sizes_and_specs_do_not_mix(size):
    """Networks whose parameters have the same shapes, on images of changing size."""
    nets = [ConvGRU(3, 4, stride=2, **o) for o in ({}, {"padding": "preserve"}, {"padding": 1}, {"dilation": 2})]
    shapes = [tuple(net(torch.randn(2, 1, 3, *size))[0].shape[3:]) for net in nets]
    same, valid = tuple((n + 1) // 2 for n in size), tuple((n + 2 - 3) // 2 + 1 for n in size)
    assert shapes == [same, size, valid, same]


def test_errors_come_after_good_calls_too():
    net = ConvGRU(3, 4)
    _, (h,) = net(SEQUENCE)
    net(SEQUENCE, (h,))
    for _ in range(2):
        with pytest.raises(ValueError, match=r"state\[0\] \(h\) expected shape \(2, 4, 8, 8\), got \(2, 4, 8, 7\)"):
            net(SEQUENCE, (h[..., :7],))
        with pytest.raises(TypeError, match=r"expected state\[0\] \(h\) of dtype float32"):
            net(SEQUENCE, (h.double(),))
        with pytest.raises(ValueError, match="expected a state of 1"):
            net(SEQUENCE, (h, h))
        with pytest.raises(ValueError, match="expected 3 input channels"):
            net(SEQUENCE[:, :, :2])
        with pytest.raises(TypeError, match="expected x of dtype float32"):
            net(SEQUENCE.double())
    net.double()
    assert net(SEQUENCE.double(), (h.double(),))[0].dtype == torch.float64


def test_traces_leave_nothing_behind():
    """A trace with free sizes, then a call with other ones, and a trace after a call."""
    net = ConvGRU(3, 4, impl="readable").eval()
    with torch.no_grad():
        expected = net(SEQUENCE)[0]
        graph = make_fx(net, tracing_mode="symbolic", _allow_non_fake_inputs=True)(SEQUENCE)
        assert torch.equal(graph(SEQUENCE)[0], expected)
        wide = torch.randn(4, 3, 3, 10, 12)
        assert torch.equal(graph(wide)[0], net(wide)[0])
        assert torch.equal(net(SEQUENCE)[0], expected)


def test_replaced_weights_and_dtypes_are_seen():
    """Only sizes are remembered: weights are looked at in each call."""
    net = ConvGRU(3, 4)
    before = net(SEQUENCE)[0]
    layer = net.layers[0]["fwd"]
    with torch.no_grad():
        layer.weight_ih.mul_(0.5)
    changed = net(SEQUENCE)[0]
    weight = layer.weight_ih.detach() * 2
    del layer.weight_ih
    layer.weight_ih = weight
    assert not torch.equal(changed, before)
    assert torch.equal(net(SEQUENCE)[0], before)
