"""Train a nowcaster in plain PyTorch: the loop of ``convgru demo`` and of examples/nowcast."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from convgru.spec import ForecasterSpec
from convgru.weights import Weights
from convgru_torch.backend import extract
from convgru_torch.forecaster import Forecaster

Report = Callable[[int, float], None]
CROP, BATCH = 48, 8
RATE = 5e-3
WARM = 20
"""Steps over which the learning rate rises."""
EVENTS = 0.05
"""Weight of 1 - CSI beside the mean squared error, which alone rewards blurred forecasts."""
RARER = 3.0
"""The weight of each threshold over that of the next lower one, whose events are more frequent."""
SOFTNESS = 0.05
"""Width of the sigmoid that stands for a threshold."""
DRIER = 0.6
"""Largest amount subtracted from a crop's echoes: one wet day alone would teach that it rains
everywhere.
"""


def train(
    spec: ForecasterSpec,
    windows: np.ndarray,
    known: np.ndarray,
    *,
    steps: int,
    thresholds: Sequence[float] = (),
    seed: int = 0,
    report: Report | None = None,
) -> Weights:
    """Train a forecaster with Adam and a learning rate that falls to zero along half a cosine.

    Adam is Kingma and Ba 2015, arXiv:1412.6980. Each forecast frame is fed back as the input of the
    next. The loss is their mean squared error, plus 0.05 of ``1 - soft_csi`` at the lowest
    threshold, three times as much at the next, and so on.

    Args:
        spec: The forecaster.
        windows: Frames (N, T, H, W), scaled so that strong echoes are about 1 and none is 0.
        known: Where frames to predict are known, bool (N, ahead, H, W): as many as the frames that
            training is to predict; the T - ahead before them are given.
        steps: How many steps, at least one, each on a batch of 8 crops.
        thresholds: Of the events that the loss counts, scaled as the frames.
        seed: Of the initial weights and the crops; the caller's random generators are left as they
            are.
        report: Called after each step with the number of steps and the loss.

    Returns:
        The weights: the same on every run of the same versions, machine and number of threads, and
        to rounding elsewhere.

    Raises:
        ValueError: ``steps`` is less than one, images are smaller than the patch, or arrays do not
            fit one another.
    """
    if steps < 1:
        raise ValueError(f"train expected at least 1 step, got {steps}")
    ahead = known.shape[1]
    fits = windows.ndim == 4 and known.shape == (len(windows), ahead, *windows.shape[2:]) and windows.shape[1] > ahead
    if not fits or min(windows.shape[2:]) < math.lcm(*spec.patch):
        raise ValueError(f"train expected windows and what is known of them, got {windows.shape} and {known.shape}")
    crops = _crops(torch.from_numpy(windows), torch.from_numpy(known), spec.patch, np.random.default_rng(seed))
    with torch.random.fork_rng():  # for the initial weights, and the masks of dropout in each step
        torch.manual_seed(seed)
        return _fitted(Forecaster.from_spec(spec), crops, ahead, steps, thresholds, report)


def _fitted(
    net: Forecaster,
    crops: Iterator[tuple[Tensor, Tensor, Tensor]],
    ahead: int,
    steps: int,
    thresholds: Sequence[float],
    report: Report | None,
) -> Weights:
    """Train a new network, as ``train`` says."""
    with torch.no_grad():
        net.readout.weight.mul_(0.1)  # begin close to no change at all
        if net.readout.bias is not None:
            net.readout.bias.zero_()
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / WARM) * 0.5 * (1 + math.cos(math.pi * step / steps))
        x, truth, mask = next(crops)
        forecast, _ = net(x, ahead)
        loss = ((forecast - truth) ** 2 * mask).sum() / mask.sum().clamp(min=1)
        for index, threshold in enumerate(sorted(thresholds)):
            loss = loss + EVENTS * RARER**index * (1 - soft_csi(forecast, truth, mask, threshold))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        if report is not None:
            report(step + 1, loss.item())
    return extract(net)


def soft_csi(forecast: Tensor, truth: Tensor, known: Tensor, threshold: float) -> Tensor:
    """Differentiable critical success index: a sigmoid in place of the forecast's threshold.

    Hits / (hits + misses + false alarms) for each lead time, the mean of which is returned; the
    soft Jaccard index (Rahman and Wang 2016). Arrays are (T, B, 1, H, W).
    """
    said = torch.sigmoid((forecast - threshold) / SOFTNESS)
    seen = (truth >= threshold).to(forecast.dtype)
    hits = (said * seen * known).sum((1, 2, 3, 4))
    either = ((said + seen - said * seen) * known).sum((1, 2, 3, 4))
    return ((hits + 1) / (either + 1)).mean()


def _crops(
    windows: Tensor, known: Tensor, patch: tuple[int, ...], rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield random crops, rotated, flipped and attenuated: input, truth, known (T, B, 1, H, W)."""
    given = windows.shape[1] - known.shape[1]
    edge = min(CROP, *windows.shape[2:])
    edge -= edge % math.lcm(*patch)
    sizes = (len(windows), *(size - edge + 1 for size in windows.shape[2:]))
    while True:
        batch, masks = [], []
        for _ in range(BATCH):
            window, top, left = (int(rng.integers(n)) for n in sizes)
            turns, flip, drier = int(rng.integers(4)), bool(rng.integers(2)), DRIER * float(rng.random())
            crop, mask = (
                torch.rot90(each[window, :, top : top + edge, left : left + edge], turns, (1, 2))
                for each in (windows, known)
            )
            crop, mask = (crop.flip(2), mask.flip(2)) if flip else (crop, mask)
            batch.append((crop - drier).clamp(min=0))
            masks.append(mask)
        x, mask = torch.stack(batch, 1)[:, :, None], torch.stack(masks, 1)[:, :, None]
        yield x[:given], x[given:], mask.to(x.dtype)
