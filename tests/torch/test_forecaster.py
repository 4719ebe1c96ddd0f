"""Forecasters: streaming, patches, and the readout's initial values."""

import torch

from convgru.spec import shapes
from convgru.torch import Forecaster
from convgru_torch import ops


def test_forecaster_streams():
    """Frame by frame, then its own predictions: what one call gives."""
    net = Forecaster("lstm", 2, [3, 4], patch=(2, 1), residual=False, dtype=torch.float64)
    x = torch.randn(3, 2, 2, 6, 5, dtype=torch.float64)
    frames, final = net(x, 3)
    state = None
    for frame in x:
        prediction, state = net.step(frame, state)
    for want in frames[:-1]:
        torch.testing.assert_close(prediction, want, rtol=0, atol=1e-14)
        prediction, state = net.step(prediction, state)
    torch.testing.assert_close(prediction, frames[-1], rtol=0, atol=1e-14)
    got, want = ([leaf for _, leaf in shapes.state_leaves(net.spec, each)] for each in (state, final))
    torch.testing.assert_close(got, want, rtol=0, atol=1e-14)


def test_patch_is_torchs_pixel_unshuffle():
    x = torch.randn(2, 3, 6, 8)
    assert torch.equal(ops.patch(x, (2, 2)), torch.nn.functional.pixel_unshuffle(x, 2))
    for sizes, image in (((3,), (6,)), ((2, 4), (6, 8)), ((2, 1, 3), (4, 5, 6))):
        x = torch.randn(2, 3, *image)
        assert torch.equal(ops.unpatch(ops.patch(x, sizes), sizes), x)


def test_readout_starts_as_init_says():
    net = Forecaster("gru", 1, 16, patch=4)
    bound = (6 / (16 + 16)) ** 0.5
    assert 0.9 * bound < net.readout.weight.detach().abs().max().item() <= bound
    assert not net.readout.bias.any()
