"""Verify a converted file: the same bytes, and the same results of source and target."""

from __future__ import annotations

from math import prod

import numpy as np

from convgru import parity, reference
from convgru.errors import WeightsError
from convgru.parity.budget import budget, error
from convgru.parity.cases import Problem
from convgru.spec import ForecasterSpec, Spec
from convgru.spec.shapes import fitting_size, layer_sizes, patched_size
from convgru.weights import Weights

MOST_NUMBERS = 1 << 25
"""Do not run a network of which one convolution takes more numbers than this."""
MOST_PRODUCTS = 1 << 34
"""Nor one that multiplies more often than this in a frame."""


def verify(weights: Weights, back: Weights, framework: str | None) -> list[str]:
    """Compare what was written with what was read back, and run both; return what was found.

    Args:
        weights: What was written.
        back: What was read back.
        framework: The framework that is to run it too.

    Raises:
        WeightsError: They differ, or the framework misses the reference.
    """
    lines = [_same_bytes(weights, back)]
    try:
        size = fitting_size(weights.spec, 8)
    except ValueError as error:
        return [*lines, f"not run: {error}"]
    if (reason := _too_large(weights.spec, size)) is not None:
        return [*lines, f"not run: {reason}"]
    x = _random_input(weights.spec, size)
    return [*lines, *_run_both(weights, back, x), *_run_in(weights, framework, x)]


def _too_large(spec: Spec, size: tuple[int, ...]) -> str | None:
    """Say why a network is not to be run: a spec of a few bytes may ask for any image and padding.

    None if it may be run.
    """
    forecaster = isinstance(spec, ForecasterSpec)
    pixels = patched_size(spec, size) if isinstance(spec, ForecasterSpec) else size
    networks = [spec.encoder, spec.decoder] if isinstance(spec, ForecasterSpec) else [spec]
    for network in filter(None, networks):
        before = pixels if network.output_size is None else network.output_size
        for layer, after in zip(network.layers, layer_sizes(network, pixels), strict=True):
            for step in layer.steps:
                inputs = ((step.input_convolution, step.in_channels, before),)
                states = ((step.recurrent_convolution(step.gates), step.hidden_channels, after),)
                for convolution, channels, image in inputs + states:
                    padded = [n + low + high for n, (low, high) in zip(image, convolution.pads(image), strict=True)]
                    taps = channels * prod(convolution.kernel_size) * prod(after)
                    products = taps * step.gates * step.hidden_channels
                    if max(channels * prod(padded), taps) > MOST_NUMBERS or products > MOST_PRODUCTS:
                        frame = "patches" if forecaster else "pixels"
                        return f"on an image of {pixels} {frame}, the smallest, it takes too much memory or time"
            before = after
    return None


def _same_bytes(weights: Weights, back: Weights) -> str:
    """Compare the arrays read back with those written; return how they agree.

    Raises WeightsError unless they are equal, or within one rounding where sums were split.
    """
    if back.equal(weights):
        return "equal byte for byte"
    if back.spec != weights.spec or back.dtype != weights.dtype:
        raise WeightsError("what was read back is not what was written")
    eps = float(np.finfo(weights.dtype).eps) if weights.dtype.kind == "f" else 2.0**-7
    worst = 0.0
    for name, array in weights.arrays.items():
        a, b = array.astype(np.float64), back.arrays[name].astype(np.float64)
        worst = max(worst, float(np.abs(a - b).max() / max(1.0, np.abs(a).max())))
    if worst > eps:
        raise WeightsError(f"what was read back differs from what was written by {worst:.3g}")
    return f"equal but for one rounding, {worst:.2g}"


def _run_both(weights: Weights, back: Weights, x: np.ndarray) -> list[str]:
    """Run source and target once on the same random input. Raises WeightsError if they disagree."""
    steps = _steps(weights.spec)
    before, _ = reference.run(weights, x, steps=steps)
    after, _ = reference.run(back, x, steps=steps)
    if not np.isfinite(before).all():
        return [f"random input {x.shape}: the results are not finite, which compares nothing"]
    same, difference = back.equal(weights), error(after, before)
    if same and not difference:
        return [f"random input {x.shape}: the float64 reference gives the same numbers for both"]
    compared = weights.astype("float64") if same else weights  # the same numbers, summed in another order
    allowed = budget(_problem(compared, x), steps).forward
    if difference > allowed:
        raise WeightsError(f"source and target differ by {difference:.3g} on random input, budget {allowed:.2g}")
    return [f"random input {x.shape}: source and target differ by {difference:.2g}, budget {allowed:.2g}"]


def _problem(weights: Weights, x: np.ndarray) -> Problem:
    """The problem that source and target run, without gradients."""
    return Problem(weights, x.astype(weights.dtype), None, (np.zeros(0), ()))


def _run_in(weights: Weights, framework: str | None, x: np.ndarray) -> list[str]:
    """Run the weights in a framework against the reference. Raises WeightsError if it misses."""
    if framework is None:
        return []
    report = parity.compare(weights, x, steps=_steps(weights.spec), backends=[framework], gradients=False)
    lines = [f"{key} does not run this: {reason}" for key, reason in report.unsupported.items()]
    for row in report.rows:
        text = f"{row.quantity} off by {row.error:.2g}, budget {row.budget:.2g}"
        if not row.ok:
            raise WeightsError(f"{framework} misses the reference: {text}")
        lines.append(f"{framework} against the reference: {text}")
    return lines


def _steps(spec: Spec) -> int | None:
    return 3 if isinstance(spec, ForecasterSpec) else None


def _random_input(spec: Spec, size: tuple[int, ...]) -> np.ndarray:
    """Two frames of an image of this size."""
    shape = (2, 1, spec.in_channels, *size)
    return np.random.default_rng(0).standard_normal(prod(shape)).reshape(shape)
