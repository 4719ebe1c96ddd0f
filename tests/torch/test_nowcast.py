"""Training of a nowcaster: its loss, its crops, and that it repeats itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import convgru
from convgru_torch import nowcast

SPEC = convgru.forecaster("gru", 1, 3, 3, patch=2)


def moving_windows(count=3, length=5, size=(14, 18)):
    """Windows of blobs that decay, and what is known of the last two frames."""
    rng = np.random.default_rng(0)
    first = rng.gamma(2.0, 0.2, (count, 1, *size)).astype(np.float32)
    windows = first * 0.8 ** np.arange(length, dtype=np.float32)[:, None, None]
    return windows, np.ones((count, 2, *size), bool)


def test_soft_csi_approaches_the_hard_one():
    said, seen = torch.tensor([9.0, 9, -9, -9]), torch.tensor([1.0, 0, 1, 0])
    shape = (1, 1, 1, 2, 2)
    known = torch.ones(shape)
    got = nowcast.soft_csi(said.view(shape), seen.view(shape), known, 0.5)
    assert got.item() == pytest.approx((1 + 1) / (3 + 1))  # one hit, one miss, one false alarm, each count plus one
    known[..., 1, 0] = 0
    assert nowcast.soft_csi(said.view(shape), seen.view(shape), known, 0.5).item() == pytest.approx((1 + 1) / (2 + 1))


def test_soft_csi_pulls_towards_the_event():
    forecast = torch.full((1, 1, 1, 1, 2), 0.2, requires_grad=True)
    truth = torch.tensor([1.0, 0.0]).view(1, 1, 1, 1, 2)
    nowcast.soft_csi(forecast, truth, torch.ones_like(truth), 0.25).backward()
    event, none = forecast.grad.flatten().tolist()
    assert event > 0 > none


def test_training_repeats_itself_and_learns():
    windows, known = moving_windows()
    losses: list[float] = []

    def report(step, loss):
        assert step == len(losses) + 1
        losses.append(loss)

    before = torch.random.get_rng_state()
    trained = nowcast.train(SPEC, windows, known, steps=60, seed=1, report=report)
    assert torch.equal(torch.random.get_rng_state(), before)
    given, truth = (torch.from_numpy(part).swapaxes(0, 1)[:, :, None] for part in (windows[:, :3], windows[:, 3:]))
    forecast, _ = convgru.build(trained, "torch")(given, 2)
    assert ((forecast - truth) ** 2).mean() < 0.5 * ((given[-1:] - truth) ** 2).mean()  # than if nothing changed
    assert len(losses) == 60
    again = nowcast.train(SPEC, windows, known, steps=2, seed=1)
    assert again.equal(nowcast.train(SPEC, windows, known, steps=2, seed=1))
    assert not again.equal(nowcast.train(SPEC, windows, known, steps=2, seed=2))
    assert trained.spec == SPEC


def test_dropout_is_drawn_from_the_seed_too():
    """Whatever the caller's generator is at, which training leaves there."""
    windows, known = moving_windows()
    spec, trained = convgru.forecaster("gru", 1, [3, 3], 3, patch=2, dropout=0.5), []
    for state in (1, 2):
        torch.manual_seed(state)
        before = torch.random.get_rng_state()
        trained.append(nowcast.train(spec, windows, known, steps=2))
        assert torch.equal(torch.random.get_rng_state(), before)
    assert trained[0].equal(trained[1])


def test_what_is_not_known_is_not_learned():
    windows, known = moving_windows()
    other = windows.copy()
    other[:, 3:, :, 9:] = 5.0
    known[..., 9:] = False
    assert nowcast.train(SPEC, windows, known, steps=3).equal(nowcast.train(SPEC, other, known, steps=3))


def test_wrong_arguments_are_refused():
    windows, known = moving_windows()
    with pytest.raises(ValueError, match="at least 1 step, got 0"):
        nowcast.train(SPEC, windows, known, steps=0)
    for wrong in (known[:1], known[..., :3], np.ones((3, 5, 14, 18), bool)):
        with pytest.raises(ValueError, match="expected windows and what is known of them"):
            nowcast.train(SPEC, windows, wrong, steps=1)
    with pytest.raises(ValueError, match="expected windows"):
        nowcast.train(convgru.forecaster("gru", 1, 3, patch=16), windows, known, steps=1)
