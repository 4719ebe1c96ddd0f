"""The step of each cell, written once, over a module of ops that every backend brings.

Notation: * is cross-correlation, ∘ the elementwise product, σ the recurrent activation (sigmoid), φ
the activation (tanh).

A step takes the already convolved input ``gates_x`` = W*x + b of all gates, so that a backend may
compute it for many frames at once, and the state, always a tuple: ``(h,)`` or ``(h, c)``.
``context`` is added to the pre-activations of all gates, ``mask`` multiplies h where it enters U
(recurrent dropout, before r); None is neither. With a norm the pre-activation is norm(W*x + U*h +
b) + context + peephole. ``p`` holds one layer's parameters in whatever form the backend's ops like
best; nothing here looks inside. Axes and geometry are the ops' business alone.
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
    """The operations that a backend provides."""

    def conv(self, x: Array, p: Params, name: str) -> Array:
        """Cross-correlate ``x`` with the kernel called ``name``.

        ``ih`` and ``readout`` are whole kernels; ``hh`` is all gates of weight_hh, ``hh_rz`` and
        ``hh_n`` are its rows for these gates.
        """
        ...

    def add_channel(self, a: Array, p: Params, name: str) -> Array:
        """Add the vector ``name`` along the channels: ``bias``, ``bias_hn``, ``readout_bias``."""
        ...

    def peep(self, c: Array, p: Params, name: str) -> Array:
        """P·c for a peephole (``peephole_i`` …): elementwise, or a convolution without bias."""
        ...

    def norm(self, a: Array, p: Params, part: str) -> Array:
        """Group norm of ``a``, then weight and bias by channel.

        ``part`` names the gates that ``a`` holds, one of ``convgru.spec.NORMED``.
        """
        ...

    def split(self, a: Array, n: int) -> tuple[Array, ...]:
        """Cut the channels of ``a`` into ``n`` equal parts."""
        ...

    def split_rz_n(self, a: Array) -> tuple[Array, Array]:
        """Cut the channels of ``a`` into the first two thirds and the last third."""
        ...

    def concat(self, a: Array, b: Array) -> Array:
        """Put the channels of ``b`` behind those of ``a``."""
        ...

    def activation(self, name: str, a: Array) -> Array:
        """The activation called ``name``: one of ``convgru.spec.ACTIVATIONS``."""
        ...

    def unpatch(self, a: Array, patch: tuple[int, ...]) -> Array:
        """Move channels to pixels: the inverse of the pixel unshuffle; channels are (c, i, j)."""
        ...


def input_gates(ops: Ops, spec: CellSpec, p: Params, x: Array) -> Array:
    """W*x + b for all gates: the part of a step that does not depend on the state."""
    gates = ops.conv(x, p, "ih")
    return ops.add_channel(gates, p, "bias") if spec.bias else gates


def _pre(ops: Ops, spec: CellSpec, p: Params, part: str, a: Array, context: Array) -> Array:
    """Pre-activation of the gates ``part``: norm(a) + context, each of which may be absent."""
    a = ops.norm(a, p, part) if spec.norm is not None else a
    return a if context is None else a + context


def gru_before(ops: Ops, spec: CellSpec, p: Params, gates_x: Array, state: State, context: Array, mask: Array) -> State:
    """ConvGRU, reset gate before the recurrent convolution (Ballas et al. 2015, arXiv:1511.06432).

    r = σ(W_r*x + U_r*h + b_r)    z = σ(W_z*x + U_z*h + b_z)
    n = φ(W_n*x + b_n + U_n*(r∘h))    h' = z∘h + (1−z)∘n
    """
    (h,) = state
    u = h if mask is None else h * mask
    x_rz, x_n = ops.split_rz_n(gates_x)
    c_rz, c_n = (None, None) if context is None else ops.split_rz_n(context)
    gates = _pre(ops, spec, p, "rz", x_rz + ops.conv(u, p, "hh_rz"), c_rz)
    r, z = ops.split(ops.activation(spec.recurrent_activation, gates), 2)
    n = ops.activation(spec.activation, _pre(ops, spec, p, "n", x_n + ops.conv(r * u, p, "hh_n"), c_n))
    return (z * h + (1 - z) * n,)


def gru_after(ops: Ops, spec: CellSpec, p: Params, gates_x: Array, state: State, context: Array, mask: Array) -> State:
    """ConvGRU, reset gate after the recurrent convolution (Cho et al. 2014, arXiv:1406.1078v1).

    cuDNN and torch.nn.GRU do the same.

    r = σ(W_r*x + U_r*h + b_r)    z = σ(W_z*x + U_z*h + b_z)
    n = φ(W_n*x + b_n + r∘(U_n*h + b_hn))    h' = z∘h + (1−z)∘n
    """
    (h,) = state
    u = h if mask is None else h * mask
    x_rz, x_n = ops.split_rz_n(gates_x)
    h_rz, h_n = ops.split_rz_n(ops.conv(u, p, "hh"))
    c_rz, c_n = (None, None) if context is None else ops.split_rz_n(context)
    gates = _pre(ops, spec, p, "rz", x_rz + h_rz, c_rz)
    r, z = ops.split(ops.activation(spec.recurrent_activation, gates), 2)
    if spec.bias:
        h_n = ops.add_channel(h_n, p, "bias_hn")
    n = ops.activation(spec.activation, _pre(ops, spec, p, "n", x_n + r * h_n, c_n))
    return (z * h + (1 - z) * n,)


def lstm(ops: Ops, spec: CellSpec, p: Params, gates_x: Array, state: State, context: Array, mask: Array) -> State:
    """ConvLSTM (Shi et al. 2015, arXiv:1506.04214); P is absent, elementwise or a convolution.

    i = σ(W_i*x + U_i*h + P_i·c + b_i)    f = σ(W_f*x + U_f*h + P_f·c + b_f)
    g = φ(W_g*x + U_g*h + b_g)    c' = f∘c + i∘g
    o = σ(W_o*x + U_o*h + P_o·c' + b_o)    h' = o∘φ(c')
    """
    h, c = state
    u = h if mask is None else h * mask
    i, f, g, o = ops.split(_pre(ops, spec, p, "ifgo", gates_x + ops.conv(u, p, "hh"), context), 4)
    if spec.peephole is not None:
        i, f = i + ops.peep(c, p, "peephole_i"), f + ops.peep(c, p, "peephole_f")
    i, f = ops.activation(spec.recurrent_activation, i), ops.activation(spec.recurrent_activation, f)
    c = f * c + i * ops.activation(spec.activation, g)
    if spec.peephole is not None:
        o = o + ops.peep(c, p, "peephole_o")
    return ops.activation(spec.recurrent_activation, o) * ops.activation(spec.activation, c), c


def rnn(ops: Ops, spec: CellSpec, p: Params, gates_x: Array, state: State, context: Array, mask: Array) -> State:
    """ConvRNN: h' = φ(W*x + U*h + b), the convolutional form of Elman's network (1990)."""
    (h,) = state
    u = h if mask is None else h * mask
    return (ops.activation(spec.activation, _pre(ops, spec, p, "h", gates_x + ops.conv(u, p, "hh"), context)),)


Step = Callable[[Ops, "CellSpec", Params, Array, State, Array, Array], State]


def step_of(spec: CellSpec) -> Step:
    """The step function of a cell: one of the four above."""
    if spec.cell == "gru":
        return gru_before if spec.reset == "before" else gru_after
    return {"lstm": lstm, "rnn": rnn}[spec.cell]


def zoneout(mask: Array, old: State, new: State) -> State:
    """Zoneout of each part of the state (Krueger et al. 2017, arXiv:1606.01305).

    In evaluation a mask is its mean.
    """
    return tuple(kept(m, a, b) for m, a, b in zip(mask, old, new, strict=True))


def kept(mask: Array, old: Array, new: Array) -> Array:
    """m∘old + (1−m)∘new: zoneout of one part of the state."""
    return mask * old + (1 - mask) * new


def merge(ops: Ops, name: str, forward: Array, backward: Array) -> Array:
    """One output from those of two directions: ``concat``, ``sum``, ``mean`` or ``mul``."""
    if name == "concat":
        return ops.concat(forward, backward)
    if name == "mul":
        return forward * backward
    total = forward + backward
    return total * 0.5 if name == "mean" else total


def readout(ops: Ops, spec: ForecasterSpec, p: Params, h: Array, frame: Array) -> Array:
    """The forecaster's next frame, from its top hidden state ``h`` and the frame just seen.

    unpatch(W*h + b), with a kernel of 1; a residual forecaster adds the frame.
    """
    out = ops.unpatch(ops.add_channel(ops.conv(h, p, "readout"), p, "readout_bias"), spec.patch)
    return frame + out if spec.residual else out
