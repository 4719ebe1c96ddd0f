"""The step of each cell, written once, over a module of ops that every backend brings.

Notation: * is cross-correlation, ∘ the elementwise product, σ the logistic sigmoid, φ the cell's activation.

A step takes the already convolved input ``gates_x`` = W*x + b of all gates, so that a backend may compute it for many
frames at once, and the state, always a tuple: ``(h,)`` or ``(h, c)``. ``p`` holds one layer's parameters in whatever form
the backend's ops like best; nothing here looks inside. Axes and geometry are the ops' business alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from convgru.spec import CellSpec, ForecasterSpec

Array = Any
Params = Any
State = tuple[Array, ...]


class Ops(Protocol):
    """What a backend's module of ops provides."""

    def conv(self, x: Array, p: Params, name: str) -> Array:
        """Cross-correlate ``x`` with the kernel ``name``: ``ih`` or ``readout``; ``hh`` (all gates of weight_hh), or its rows ``hh_rz`` and ``hh_n``."""
        ...

    def add_channel(self, a: Array, p: Params, name: str) -> Array:
        """Add the vector ``name`` (``bias``, ``bias_hn``, ``readout_bias``) along the channels of ``a``."""
        ...

    def split(self, a: Array, n: int) -> tuple[Array, ...]:
        """Cut the channels of ``a`` into ``n`` equal parts."""
        ...

    def split_rz_n(self, a: Array) -> tuple[Array, Array]:
        """Cut the channels of ``a`` into the first two thirds and the last third."""
        ...

    def sigmoid(self, a: Array) -> Array:
        """1 / (1 + exp(−a))."""
        ...

    def tanh(self, a: Array) -> Array:
        """The hyperbolic tangent."""
        ...

    def activation(self, name: str, a: Array) -> Array:
        """The activation called ``name``: one of ``convgru.spec.ACTIVATIONS``."""
        ...

    def unpatch(self, a: Array, patch: tuple[int, ...]) -> Array:
        """Move channels back to pixels: the inverse of the pixel unshuffle, (c, i, j) being the order of the channels."""
        ...


def input_gates(ops: Ops, spec: CellSpec, p: Params, x: Array) -> Array:
    """W*x + b for all gates: the part of a step that does not depend on the state."""
    gates = ops.conv(x, p, "ih")
    return ops.add_channel(gates, p, "bias") if spec.bias else gates


def gru_before(ops: Ops, spec: CellSpec, p: Params, gates_x: Array, state: State) -> State:
    """ConvGRU whose reset gate acts before the recurrent convolution (Ballas et al. 2015, arXiv:1511.06432).

    r = σ(W_r*x + U_r*h + b_r)    z = σ(W_z*x + U_z*h + b_z)
    n = φ(W_n*x + b_n + U_n*(r∘h))    h' = z∘h + (1−z)∘n
    """
    (h,) = state
    x_rz, x_n = ops.split_rz_n(gates_x)
    r, z = ops.split(ops.sigmoid(x_rz + ops.conv(h, p, "hh_rz")), 2)
    n = ops.activation(spec.activation, x_n + ops.conv(r * h, p, "hh_n"))
    return (z * h + (1 - z) * n,)


def gru_after(ops: Ops, spec: CellSpec, p: Params, gates_x: Array, state: State) -> State:
    """ConvGRU whose reset gate acts after the recurrent convolution (cuDNN, torch.nn.GRU; Cho et al. 2014, arXiv:1406.1078v1).

    r = σ(W_r*x + U_r*h + b_r)    z = σ(W_z*x + U_z*h + b_z)
    n = φ(W_n*x + b_n + r∘(U_n*h + b_hn))    h' = z∘h + (1−z)∘n
    """
    (h,) = state
    x_rz, x_n = ops.split_rz_n(gates_x)
    h_rz, h_n = ops.split_rz_n(ops.conv(h, p, "hh"))
    r, z = ops.split(ops.sigmoid(x_rz + h_rz), 2)
    if spec.bias:
        h_n = ops.add_channel(h_n, p, "bias_hn")
    n = ops.activation(spec.activation, x_n + r * h_n)
    return (z * h + (1 - z) * n,)


def lstm(ops: Ops, spec: CellSpec, p: Params, gates_x: Array, state: State) -> State:
    """ConvLSTM (Shi et al. 2015, arXiv:1506.04214), without peepholes.

    i = σ(W_i*x + U_i*h + b_i)    f = σ(W_f*x + U_f*h + b_f)    g = φ(W_g*x + U_g*h + b_g)
    o = σ(W_o*x + U_o*h + b_o)    c' = f∘c + i∘g    h' = o∘φ(c')
    """
    h, c = state
    i, f, g, o = ops.split(gates_x + ops.conv(h, p, "hh"), 4)
    c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.activation(spec.activation, g)
    return ops.sigmoid(o) * ops.activation(spec.activation, c), c


def rnn(ops: Ops, spec: CellSpec, p: Params, gates_x: Array, state: State) -> State:
    """ConvRNN: h' = φ(W*x + U*h + b), the convolutional form of Elman's network (1990)."""
    (h,) = state
    return (ops.activation(spec.activation, gates_x + ops.conv(h, p, "hh")),)


Step = Callable[[Ops, "CellSpec", Params, Array, State], State]


def step_of(spec: CellSpec) -> Step:
    """The step that a cell takes."""
    if spec.cell == "gru":
        return gru_before if spec.reset == "before" else gru_after
    return {"lstm": lstm, "rnn": rnn}[spec.cell]


def readout(ops: Ops, spec: ForecasterSpec, p: Params, h: Array, frame: Array) -> Array:
    """The next frame that a forecaster predicts from its top hidden state ``h`` and the frame it has just seen.

    unpatch(W*h + b), with a kernel of 1; a residual forecaster adds the frame.
    """
    out = ops.unpatch(ops.add_channel(ops.conv(h, p, "readout"), p, "readout_bias"), spec.patch)
    return frame + out if spec.residual else out
