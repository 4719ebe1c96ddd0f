"""The demo's training loop: train a nowcaster on radar frames, in plain PyTorch.

examples/nowcast uses it too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from convgru.spec import ForecasterSpec
from convgru.weights import Weights
from convgru_torch.backend import extract
from convgru_torch.forecaster import Forecaster

Report = Callable[[float, int, float], None]
CROP, BATCH, AHEAD = 48, 8, 9
RATE = 5e-3
DRIER = 0.6
"""Largest amount subtracted from a crop's echoes: one wet day alone would teach that it rains
everywhere.
"""


def train(
    spec: ForecasterSpec, frames: np.ndarray, given: int, *, seconds: float, seed: int = 0, report: Report | None = None
) -> Weights:
    """Train a forecaster with Adam and a learning rate that falls to zero along half a cosine.

    Adam is Kingma and Ba 2015, arXiv:1412.6980.

    The loss is the mean squared error of nine forecast frames, each forecast fed back as the input
    of the next.

    Args:
        spec: The forecaster.
        frames: Frames (T, H, W) of one day, scaled.
        given: How many frames a forecast starts from.
        seconds: How long to train; at least one step is taken.
        seed: Of the initial weights and the crops; the caller's random generators are left as they
            are.
        report: Called after each step with the fraction done, the number of steps and the loss.

    Raises:
        ValueError: There are too few frames, or too few pixels, to cut a crop from.
    """
    if len(frames) < given + AHEAD or min(frames.shape[1:]) < CROP:
        raise ValueError(f"train expected at least {given + AHEAD} frames of {CROP}x{CROP}, got {frames.shape}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = Forecaster.from_spec(spec)
    with torch.no_grad():
        net.readout.weight.mul_(0.1)  # begin close to persistence
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
    crops = _crops(torch.from_numpy(frames), given, np.random.default_rng(seed))
    start, done, steps = time.monotonic(), 0.0, 0
    while done < 1:
        for group in optimizer.param_groups:
            group["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * done))
        x, truth = next(crops)
        forecast, _ = net(x, AHEAD)
        loss = torch.nn.functional.mse_loss(forecast, truth)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        steps += 1
        done = min(1.0, (time.monotonic() - start) / seconds) if seconds > 0 else 1.0
        if report is not None:
            report(done, steps, loss.item())
    return extract(net)


def _crops(frames: Tensor, given: int, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield random, rotated, flipped, attenuated crops: input and truth (T, B, 1, H, W)."""
    length = given + AHEAD
    while True:
        batch = []
        for _ in range(BATCH):
            t, y, x = (rng.integers(n - size + 1) for n, size in zip(frames.shape, (length, CROP, CROP), strict=True))
            crop = frames[t : t + length, y : y + CROP, x : x + CROP]
            crop = torch.rot90(crop, int(rng.integers(4)), (1, 2))
            crop = (crop - DRIER * rng.random()).clamp(min=0)
            batch.append(crop.flip(2) if rng.integers(2) else crop)
        whole = torch.stack(batch, 1)[:, :, None]
        yield whole[:given], whole[given:]
