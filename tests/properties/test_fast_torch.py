"""Random networks, images and calls: the fast implementation against the readable one in PyTorch.

``CONVGRU_EXAMPLES=500 python -m pytest tests/properties/test_fast_torch.py`` draws so many others,
with larger images. What it is after may write beyond its memory: run it with ``MALLOC_CHECK_=3``
(and glibc's ``LD_PRELOAD=libc_malloc_debug.so.0``), which ends the process then.
"""

from __future__ import annotations

import os
from math import prod, sqrt
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten  # noqa: E402

from convgru.torch import ConvGRU, ConvLSTM, ConvRNN  # noqa: E402

LONG = int(os.environ.get("CONVGRU_EXAMPLES", "0"))
EXAMPLES = settings(
    max_examples=LONG or 60,
    deadline=None,
    derandomize=not LONG,
    database=None,
    suppress_health_check=list(HealthCheck),
)
CELLS = {
    "gru": (ConvGRU, {}),
    "gru-after": (ConvGRU, {"reset": "after"}),
    "lstm": (ConvLSTM, {}),
    "lstm-peephole": (ConvLSTM, {"peephole": "hadamard"}),
    "rnn": (ConvRNN, {}),
}
PIXELS = {1: (1, 2, 50, 3000), 2: (1, 2, 9, 20, 64, 130, 200), 3: (1, 2, 6, 20)}
WORK = 1 << (33 if LONG else 29)
"""Most multiply-adds of a step: above the image is shrunk, or an example takes seconds.

Large images with many channels are those of ``tests/torch/test_fast_sizes.py``.
"""


class Drawn(NamedTuple):
    """A network, the shape of its input, and how it is called."""

    cell: str
    ndim: int
    shape: tuple[int, ...]
    hidden: int
    options: dict[str, Any]
    lengths: bool
    seed: int
    begins: bool = True
    """Whether it is given a state; else it begins with zeros."""


@st.composite
def networks(draw: Any) -> Drawn:
    """What chooses among the kernels and layouts of oneDNN: few and many channels and pixels."""
    ndim = draw(st.sampled_from([2, 2, 2, 1, 3]))
    size = tuple(draw(st.sampled_from(PIXELS[ndim])) for _ in range(ndim))
    time, batch = draw(st.integers(1, 3)), draw(st.sampled_from([1, 1, 2, 3]))
    channels, hidden = draw(st.sampled_from([1, 2, 3, 17])), draw(st.sampled_from([1, 8, 16, 17, 32, 64]))
    kernel = tuple(draw(st.integers(1, 7 if ndim < 3 else 3)) for _ in range(ndim))
    options = {
        "kernel_size": kernel,
        "dilation": draw(st.sampled_from([1, 1, 1, 2])),
        "padding": draw(st.sampled_from(["same", "same", "same", 0, 2, tuple((0, n % 3) for n in range(ndim))])),
        "recurrent_kernel_size": draw(st.sampled_from([3, 3, 1, 2, 5])),
        "bias": draw(st.sampled_from([True, True, False])),
        "memory": draw(st.sampled_from(["full", "full", "lean"])),
        "checkpoint_frames": draw(st.sampled_from([None, None, None, 1])),
        "bidirectional": draw(st.sampled_from([False, False, False, True])),
        "dtype": draw(st.sampled_from([torch.float32, torch.float32, torch.float64])),
    }
    if draw(st.booleans()):  # one convolution of [x, h]
        options["recurrent_kernel_size"], options["padding"] = kernel, "same"
        options["recurrent_dilation"] = options["dilation"]
    if prod(size) * prod(kernel) * batch * hidden * (hidden + channels) * 4 > WORK:
        size = tuple(min(n, 20 if ndim == 2 else 6) for n in size) if ndim > 1 else (50,)
    cell = draw(st.sampled_from(sorted(CELLS)))
    shape = (time, batch, channels, *size)
    seed = draw(st.integers(0, 1 << 20))
    return Drawn(cell, ndim, shape, hidden, options, draw(st.booleans()), seed, draw(st.booleans()))


def as_it_comes(a: Any) -> Any:
    """The same numbers in memory of any strides: a slice, a transposed batch, or as they are."""
    kind = int(torch.randint(3, ()))
    if kind == 0:
        return torch.stack((a, a), 1)[:, 0]
    return a.transpose(0, 1).contiguous().transpose(0, 1) if kind == 1 else a


def results(net: Any, x: Any, state: Any, lengths: Any, cotangent: Any) -> dict[str, list[Any]]:
    """Everything that a user may ask of a network, by what it is."""
    with torch.no_grad():
        plain = tree_leaves(net(x, state, lengths=lengths))
        last = tree_leaves(net(x, state, lengths=lengths, last_only=True))
        step = [] if net.spec.bidirectional else tree_leaves(net.step(x[0], state))
    x = x.clone().requires_grad_()
    start, form = tree_flatten(state)
    start = [leaf.clone().requires_grad_() for leaf in start if leaf is not None]
    y, final = net(x, tree_unflatten(start, form) if start else None, lengths=lengths)
    total = (y * cotangent).sum() + sum(leaf.sum() for leaf in tree_leaves(final))
    slopes = torch.autograd.grad(total, [x, *start, *net.parameters()], allow_unused=True, materialize_grads=True)
    return {
        "plain": plain,
        "last": last,
        "step": step,
        "trained": [leaf.detach() for leaf in tree_leaves((y, final))],
        "gradient": list(slopes),
    }


def check(drawn: Drawn) -> None:
    """Compare, with the readable implementation in float64 as the judge of both.

    The bound is four times what the readable implementation itself is off, and at least what parity
    allows a sum over so many pixels.
    """
    torch.manual_seed(drawn.seed)
    make, more = CELLS[drawn.cell]
    net = make(drawn.shape[2], drawn.hidden, ndim=drawn.ndim, **more, **drawn.options)
    time, batch, _, *size = drawn.shape
    try:
        x = as_it_comes(torch.randn(drawn.shape, dtype=net.layers[0]["fwd"].weight_ih.dtype))
        with torch.no_grad():
            y, state = net(x)
    except ValueError:
        return  # fewer pixels than the kernel has
    state = tree_map(lambda leaf: as_it_comes(torch.randn_like(leaf)), state) if drawn.begins else None
    lengths = torch.randint(time + 1, (batch,)) if drawn.lengths else None
    cotangent = torch.randn_like(y)
    fast, readable = (
        results(net.set_execution(impl=impl), x, state, lengths, cotangent) for impl in ("fast", "readable")
    )
    net.double()
    wide = tree_map(lambda leaf: leaf.double(), state) if drawn.begins else None
    exact = readable if x.dtype == torch.float64 else results(net, x.double(), wide, lengths, cotangent.double())
    least = 4 * (4 + sqrt(time * batch * prod(size)) / 5) * torch.finfo(x.dtype).eps
    for what, wanted in exact.items():
        for index, (a, b, want) in enumerate(zip(fast[what], readable[what], wanted, strict=True)):
            scale = max(1.0, float(want.abs().max()))
            off, theirs = (float((got - want).abs().max()) / scale for got in (a, b))
            assert off <= max(4 * theirs, least), f"{what} {index}: {off:.3g}, readable {theirs:.3g}, {least:.3g}"


POINTWISE = {"kernel_size": 1, "recurrent_kernel_size": 3}


@given(drawn=networks())
@example(drawn=Drawn("gru", 2, (1, 1, 2, 200, 200), 16, POINTWISE, False, 0))  # strides of one sample
@example(drawn=Drawn("lstm", 2, (2, 1, 250, 9, 8), 17, {}, False, 0, False))  # weights' gradients of wide layers
@EXAMPLES
def test_fast_is_readable(drawn):
    check(drawn)
