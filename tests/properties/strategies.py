"""Random small networks, and random calls of them: every option of a spec that others allow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support import random_weights

import convgru
from convgru import reference
from convgru.spec import ACTIVATIONS, MERGES, NORMED
from convgru.spec.convolution import PADDING_MODES
from convgru.spec.shapes import context_shapes, fitting_size, layer_sizes, nest_state, state_leaves, state_shapes
from convgru.weights import Weights

EXAMPLES = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,  # a failure must come back, and a green run stay green
    suppress_health_check=[HealthCheck.too_slow],
)


WHOLE = {"recurrent_stride": 1, "padding": "same", "output_size": None}
"""Options of networks whose state has the input's size, but for its stride."""


def _sizes(draw: Any, ndim: int, low: int, high: int) -> tuple[int, ...]:
    return tuple(draw(st.integers(low, high)) for _ in range(ndim))


@st.composite
def cells(draw: Any, cell: str | None = None) -> dict[str, Any]:
    """What is the cell's own: reset, peephole, activations, norm."""
    cell = cell or draw(st.sampled_from(["gru", "lstm", "rnn"]))
    options: dict[str, Any] = {"cell": cell, "bias": draw(st.booleans())}
    options["activation"] = draw(st.sampled_from(["tanh", "tanh", *ACTIVATIONS]))
    options["recurrent_activation"] = draw(st.sampled_from(["sigmoid", "sigmoid", *ACTIVATIONS[3:]]))
    if cell == "gru":
        options["reset"] = draw(st.sampled_from(["before", "after"]))
    if cell == "lstm":
        options["peephole"] = draw(st.sampled_from([None, "hadamard", "conv"]))
    return options


KERNELS = ("kernel_size", "recurrent_kernel_size")


@st.composite
def networks(draw: Any, bidirectional: Any = (None, "layer", "stack"), **fixed: Any) -> convgru.NetworkSpec:
    """A network of one or two layers; ``fixed`` arguments are left as they are."""
    ndim = fixed.get("ndim") or draw(st.sampled_from([1, 1, 2, 2, 3]))
    groups = draw(st.sampled_from([1, 1, 2]))
    count = 1 if ndim == 3 else draw(st.integers(1, 2))
    updates = draw(st.sampled_from([False, False, False, True]))
    options = {
        **draw(cells()),
        "in_channels": groups * draw(st.integers(1, 2)),
        "hidden_channels": [groups * draw(st.integers(1, 2)) for _ in range(count)],
        "stride": [_sizes(draw, ndim, 1, 2) for _ in range(count)],
        "recurrent_stride": draw(st.sampled_from([1, 1, 2])),
        "dilation": draw(st.sampled_from([1, 1, 2])),
        "recurrent_dilation": draw(st.sampled_from([1, 1, 2])),
        "padding": "same" if updates else draw(st.sampled_from(["same", "valid", "preserve", ((0, 1), 1, 2)[:ndim]])),
        "padding_mode": draw(st.sampled_from(PADDING_MODES)),
        **(
            {"updates": tuple(_sizes(draw, ndim, 1, 3) for _ in range(2))}
            if updates
            else {name: [_sizes(draw, ndim, 1, 3) for _ in range(count)] for name in KERNELS}
        ),
        "groups": groups,
        "ndim": ndim,
        "bidirectional": draw(st.sampled_from(bidirectional)),
        "merge": draw(st.sampled_from(MERGES)),
        "dropout": draw(st.sampled_from([0.0, 0.5])),
        "recurrent_dropout": draw(st.sampled_from([0.0, 0.25])),
        "zoneout": draw(st.sampled_from([0.0, 0.125])),
        "output_size": draw(st.sampled_from([None, None, None, 5])),
        **fixed,
    }
    if "norm" not in fixed and draw(st.booleans()):
        options["norm"] = draw(st.sampled_from([1, groups, (1,) * len(NORMED[options["cell"]])]))
    return convgru.network(**options)


@st.composite
def forecasters(draw: Any) -> convgru.ForecasterSpec:
    """A forecaster, with or without a decoder."""
    return convgru.forecaster(
        channels=draw(st.integers(1, 2)),
        hidden_channels=[draw(st.integers(1, 3)) for _ in range(draw(st.integers(1, 2)))],
        kernel_size=draw(st.integers(1, 3)),
        ndim=2,
        patch=_sizes(draw, 2, 1, 3),
        residual=draw(st.booleans()),
        decoder=draw(st.booleans()),
        feedback=draw(st.booleans()),
        norm=draw(st.sampled_from([None, 1])),
        padding_mode=draw(st.sampled_from(PADDING_MODES)),
        **draw(cells()),
    )


specs = st.one_of(networks(), networks(), forecasters())


@dataclass(frozen=True)
class Call:
    """Weights in float64, x (T, B, C, *S), a state, and other arguments of ``reference.run``."""

    weights: Weights
    x: np.ndarray
    state: Any
    options: dict[str, Any]

    @property
    def spec(self) -> Any:
        """The network's spec."""
        return self.weights.spec

    def run(self, x: Any = None, state: Any = None, **changed: Any) -> tuple[np.ndarray, Any]:
        """Run the reference, with some of the arguments changed."""
        state = self.state if state is None else state
        return reference.run(self.weights, self.x if x is None else x, state, **{**self.options, **changed})

    def pick(self, entry: Any, samples: Any) -> Any:
        """The same state of these samples alone."""
        leaves = {name: array[samples] for name, array in state_leaves(self.spec, entry)}
        return nest_state(self.spec, leaves)


def fitted(spec: convgru.NetworkSpec, size: tuple[int, ...]) -> tuple[convgru.NetworkSpec, tuple[int, ...]]:
    """The size if the network can read it, else one that it can.

    The peephole of a single layer is then given the image's size.
    """
    try:
        layer_sizes(spec, size)
    except ValueError:
        spec = replace(spec, output_size=None)  # pooled to few pixels, the layers may have none left
        size = fitting_size(spec, 5)
    if spec.layers[0].peephole == "hadamard" and len(spec.layers) == 1 and sum(size) % 2:
        (state_size,) = layer_sizes(spec, size)
        spec = replace(spec, layers=(replace(spec.layers[0], state_size=state_size),))
    return spec, size


def pool(strategy: Any, count: int) -> list[Any]:
    """So many different networks of each cell, the same ones every time."""
    found: list[Any] = []

    @settings(EXAMPLES, max_examples=40 * count, phases=[Phase.generate], database=None)
    @given(made=strategy)
    def collect(made: Any) -> None:
        if made not in found:
            found.append(made)

    collect()
    kinds = ([spec for spec in found if spec.cell == cell] for cell in ("gru", "lstm", "rnn"))
    return [kind[len(kind) * (index + 1) // count - 1] for kind in kinds for index in range(count)]


@st.composite
def calls(
    draw: Any,
    spec: Any = None,
    size: Any = None,
    lengths: bool = False,
    context: bool | None = None,
    time: int | None = None,
    batch: int | None = None,
) -> Call:
    """A network with input and state; what is None is drawn.

    There may be lengths (with NaN in the padding) and context.
    """
    found = draw(networks() if spec is None else spec)
    found, size = fitted(found, _sizes(draw, found.ndim, 3, 7) if size is None else (size,) * found.ndim)
    seed = draw(st.integers(0, 99))
    time, batch = time or draw(st.integers(1, 4)), batch or draw(st.integers(1, 3))
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((time, batch, found.in_channels, *size))
    leaves = state_leaves(found, state_shapes(found, batch, size))
    state = nest_state(found, {name: rng.standard_normal(shape) for name, shape in leaves})
    options: dict[str, Any] = {}
    if lengths:
        options["lengths"] = np.array([draw(st.integers(0, time)) for _ in range(batch)])
        x[np.arange(time)[:, None] >= options["lengths"]] = np.nan
    if draw(st.booleans()) if context is None else context:
        options["context"] = [rng.standard_normal((time, *shape)) for shape in context_shapes(found, batch, size)]
    return Call(random_weights(found, seed), x, state, options)
