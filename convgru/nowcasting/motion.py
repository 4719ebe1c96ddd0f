"""Motion of echoes between frames, by cross-correlation, and frames moved along it.

A motion is an array (2, H, W): pixels per frame down the rows, and along the columns; what is at x
in one frame is at x + motion(x) in the next. Where echoes come and go the last frame moved along
the motion, Lagrangian persistence, is what forecasts are measured by (Germann and Zawadzki 2002).
"""

from __future__ import annotations

import numpy as np

BLOCK = 96
"""Edge, in pixels, of the blocks that are correlated; they overlap by more than half."""
FASTEST = 12.0
"""Largest motion that is looked for, in pixels per frame along each axis."""
LAGS = (1, 2, 3)
"""Frames apart: a small motion shows better over several frames."""
GRID = 0.25
"""Pixels per frame between two candidates; the best one is refined by a parabola."""
PASSES = 4
"""A taper favours small shifts: later passes find what is left after moving by earlier ones."""
NEIGHBOUR, WHOLE = 0.6, 0.1
"""How far blocks share evidence, in blocks, and the weight of the mean over all blocks."""


def estimate(frames: np.ndarray, *, block: int = BLOCK, fastest: float = FASTEST) -> np.ndarray:
    """Estimate a smooth field of motion: for each block the shift that correlates best.

    Each block, less its mean and tapered by a Hann window, is correlated with itself 1, 2 and 3
    frames later by FFT; the surfaces are added as functions of velocity, over all pairs of frames,
    and shared with the neighbouring blocks. Between centres of blocks the motion is interpolated.

    Args:
        frames: (T, H, W), at least two; anything but finite numbers must have been replaced.
        block: edge of a block in pixels; in smaller images the smaller edge.
        fastest: largest motion along an axis, in pixels per frame.

    Returns:
        The motion (2, H, W), float32; zero where nothing moves, or where there is no echo.

    Raises:
        ValueError: ``frames`` has another number of axes, fewer than two frames, or an edge below
            8 pixels.
    """
    if frames.ndim != 3 or len(frames) < 2 or min(frames.shape[1:]) < 8:
        raise ValueError(f"estimate expected at least 2 frames (T, H, W) of 8x8 or more, got shape {frames.shape}")
    motion = np.zeros((2, *frames.shape[1:]), np.float32)
    for _ in range(PASSES):
        motion = np.clip(motion + _residual(align(frames, motion), block, fastest), -fastest, fastest)
    return motion


def advect(frames: np.ndarray, motion: np.ndarray, steps: int) -> np.ndarray:
    """Move frames (..., H, W) along the motion by ``steps`` frames, or back if it is negative.

    Each pixel takes the value from where its echo was (semi-Lagrangian, bilinear); from beyond the
    image comes what is at its edge (``inside`` says where).
    """
    return sample(frames, sources(motion, steps)[-1]) if steps else frames.copy()


def advect_each(frames: np.ndarray, motion: np.ndarray, direction: int = 1) -> np.ndarray:
    """Move frame 0 of (T, H, W) by one step, frame 1 by two, and so on; back if direction is -1."""
    places = sources(motion, direction * len(frames))
    return np.stack([sample(frame, place) for frame, place in zip(frames, places, strict=True)])


def align(frames: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """Move each of the frames (T, H, W) to the time of the last one."""
    if len(frames) == 1:
        return frames.copy()
    return np.concatenate([advect_each(frames[-2::-1], motion)[::-1], frames[-1:]])


def inside(motion: np.ndarray, steps: int) -> np.ndarray:
    """Whether what ``advect`` brings to a pixel comes from inside the image.

    Bool (abs(steps), H, W), for 1, 2 … steps.
    """
    places = sources(motion, steps)
    last = np.array(motion.shape[1:])[:, None, None] - 1
    return np.asarray(((places >= 0) & (places <= last)).all(axis=1))


def sources(motion: np.ndarray, steps: int) -> np.ndarray:
    """Where each pixel's echo was 1, 2 … ``steps`` frames before; after, if steps is negative.

    Positions (abs(steps), 2, H, W) along the streams; a frame is one step of the midpoint rule.
    """
    towards = -1.0 if steps > 0 else 1.0
    places = np.empty((abs(steps), *motion.shape))
    place = np.mgrid[: motion.shape[1], : motion.shape[2]].astype(np.float64)
    for step in range(abs(steps)):
        midpoint = place + towards * 0.5 * sample(motion, place)
        places[step] = place = place + towards * sample(motion, midpoint)
    return places


def sample(frames: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Interpolate frames (..., H, W) linearly at positions (2, ...); beyond the edge, the edge."""
    height, width = frames.shape[-2:]
    y, x = np.clip(positions[0], 0, height - 1), np.clip(positions[1], 0, width - 1)
    i, j = np.minimum(y.astype(int), max(height - 2, 0)), np.minimum(x.astype(int), max(width - 2, 0))
    below, right = np.minimum(i + 1, height - 1), np.minimum(j + 1, width - 1)
    dtype = np.result_type(frames, np.float32)
    y, x = (y - i).astype(dtype), (x - j).astype(dtype)
    upper = frames[..., i, j] * (1 - x) + frames[..., i, right] * x
    lower = frames[..., below, j] * (1 - x) + frames[..., below, right] * x
    return np.asarray(upper * (1 - y) + lower * y)


def _residual(frames: np.ndarray, block: int, fastest: float) -> np.ndarray:
    """One pass of ``estimate``: the motion that correlation finds in frames (T, H, W)."""
    height, width = frames.shape[1:]
    block = min(block, height, width)
    lags = [lag for lag in LAGS if lag < len(frames)]
    fastest = min(fastest, (block - 1) / (2 * max(lags)))
    speeds = np.arange(-np.ceil(fastest / GRID), np.ceil(fastest / GRID) + 1) * GRID
    tops, lefts = _starts(height, block), _starts(width, block)
    surfaces = np.stack(
        [[_surface(frames[:, i : i + block, j : j + block], lags, speeds) for j in lefts] for i in tops]
    )
    shared = np.einsum("ia,jb,abyx->ijyx", _sharing(len(tops)), _sharing(len(lefts)), surfaces)
    shared += WHOLE * surfaces.mean((0, 1))
    vectors = np.stack([[_best(surface, speeds) for surface in row] for row in shared]).transpose(2, 0, 1)
    rows = np.interp(np.arange(height), tops + (block - 1) / 2, np.arange(len(tops)))
    columns = np.interp(np.arange(width), lefts + (block - 1) / 2, np.arange(len(lefts)))
    return sample(vectors, np.stack(np.meshgrid(rows, columns, indexing="ij"))).astype(np.float32)


def _starts(size: int, block: int) -> np.ndarray:
    """First pixels of the blocks: evenly spread, at most half a block apart."""
    return np.linspace(0, size - block, 1 + int(np.ceil(2 * (size - block) / block))).round().astype(int)


def _sharing(count: int) -> np.ndarray:
    """Weights by which blocks in a row share their surfaces: a Gaussian of their distance."""
    apart = np.subtract.outer(np.arange(count), np.arange(count)) / NEIGHBOUR
    weights = np.exp(-(apart**2) / 2)
    return np.asarray(weights / weights.sum(1, keepdims=True))


def _surface(block: np.ndarray, lags: list[int], speeds: np.ndarray) -> np.ndarray:
    """Cross-correlation of a block (T, N, N) with itself ``lags`` frames later, by velocity."""
    size = block.shape[1]
    taper = np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2
    window = np.outer(taper, taper)
    means = (block * window).sum((1, 2), keepdims=True) / window.sum()
    # Twice the size: what leaves at one edge does not come back at the other.
    spectra = np.fft.rfft2((block - means) * window, (2 * size, 2 * size))
    velocities = np.stack(np.meshgrid(speeds, speeds, indexing="ij"))
    total = np.zeros(velocities.shape[1:])
    for lag in lags:
        products = (np.conj(spectra[:-lag]) * spectra[lag:]).mean(0)
        surface = np.fft.fftshift(np.fft.irfft2(products, (2 * size, 2 * size)))
        total += sample(surface, size + lag * velocities)
    return total


def _best(surface: np.ndarray, speeds: np.ndarray) -> tuple[float, float]:
    """The velocity at a surface's highest point, refined by a parabola along each axis."""
    i, j = np.unravel_index(surface[1:-1, 1:-1].argmax(), (len(speeds) - 2, len(speeds) - 2))
    around = surface[i : i + 3, j : j + 3]
    if around[1, 1] <= 0:  # no echo, or nothing that resembles itself
        return 0.0, 0.0
    return float(speeds[i + 1] + _vertex(around[:, 1])), float(speeds[j + 1] + _vertex(around[1]))


def _vertex(values: np.ndarray) -> float:
    """Where a parabola through three values at -GRID, 0 and GRID is highest, if 0 is their highest.

    Where it is not, at the border of what is looked for, the parabola's summit may be anywhere.
    """
    curvature = values[0] - 2 * values[1] + values[2]
    top = float(GRID * 0.5 * (values[0] - values[2]) / curvature) if curvature < 0 else 0.0
    return min(max(top, -GRID / 2), GRID / 2)
