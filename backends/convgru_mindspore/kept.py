"""Layers over time that keep their gates for the backward pass, in training.

``sequence.SEQUENCE`` keeps the states alone and lets MindSpore differentiate the equations, whose
convolutions it computes a second time. Here the gates are kept too and the gradients written out,
for GRU (both resets) and LSTM with sigmoid and tanh, in two and three dimensions with zeros around
the image, without norms, peepholes, zoneout and further updates. The equations are those of
``convgru.equations``, in its notation; a gate's name stands for its value, d before a name for the
gradient.

Two things look odd and keep it compiling, in MindSpore 2.10:

- Lengths and context are loops over tuples that are empty or hold one tensor, and nothing is
  differentiated inside: of conditions and gradients it compiles only so much within a loop.
- Sigmoid, tanh, split and the convolution are not those of ``ops``. A function of Python that
  ``SEQUENCE`` differentiates must not be called here too, or a graph with layers of both kinds does
  not compile.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
import mindspore.ops as mops
from mindspore import nn
from mindspore.ops import constexpr, operations
from mindspore.ops.operations import _grad_ops as slopes

from convgru_mindspore import ops
from convgru_mindspore.buffers import before, buffer, flat, frames_at, live, pair, part, seed_of, shaped, written
from convgru_mindspore.convolution import direct, plain, slope, straight

Tensor = Any
CONCAT: Any = operations.Concat(1)
SELECT: Any = operations.Select()


class Kept(nn.Cell):
    """The steps of one layer in one direction over all frames; the base of the three below.

    Inputs and outputs as ``Sequence``'s, but there is no zoneout, the constants are the
    ``operands``, and after the final state the gates are put out, which nobody may use.
    """

    operands: tuple[str, ...] = ()
    """The parameters: weight and bias of the input, then those of the state."""
    keeps = 0
    """How many tensors like h are kept of each frame."""

    def construct(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, cell: Any, reverse: Any, frames: Any, constants: Any, state: Any, lengths: Any
    ) -> Any:
        """Run the frames one after the other."""
        count, contexts = len(state), len(frames) - 1
        x, context = frames[0], frames[contexts]
        time, index = mops.shape(x)[0], ms.Tensor(0, ms.int32)
        seed, shapes = seed_of((*frames, *constants, *state)), geometries(cell, self.operands)
        state = live(state, seed, count)
        h, c = state[0], state[count - 1]
        outputs, cells = buffer(time, h, seed, 0), buffer(time, c, seed, count - 1)
        first, second, third = buffer(time, h, seed, 2), buffer(time, h, seed, 3), buffer(time, h, seed, 4)
        fourth = third if self.keeps < 4 else buffer(time, h, seed, 5)
        while index < time:
            t = time - 1 - index if reverse else index
            now = frames_at(pair(x, context, 1 + contexts), t)
            new, gates = self.advance(now, (h, c), constants, shapes)
            for each in lengths:
                new = (SELECT(each > t, new[0], h), SELECT(each > t, new[1], c))
            h, c = new
            outputs = written(outputs, t, h)
            cells = outputs if count == 1 else written(cells, t, c)
            first, second = written(first, t, gates[0]), written(second, t, gates[1])
            third = written(third, t, gates[2])
            fourth = third if self.keeps < 4 else written(fourth, t, gates[3])
            index = index + 1
        return (*pair(outputs, cells, count), *pair(h, c, count), first, second, third, fourth)

    def bprop(
        self,
        cell: Any,
        reverse: Any,
        frames: Any,
        constants: Any,
        state: Any,
        lengths: Any,
        out: Any,
        dout: Any,
    ) -> Any:
        """Go back through the frames: the gradients of frames, constants and initial state."""
        count, contexts = len(state), len(frames) - 1
        kept, outputs, ends = part(out, 0, count), dout[0], part(dout, count, count)
        first, second, third, fourth = part(out, 2 * count, 4)
        x, context = frames[0], frames[contexts]
        time, index = mops.shape(x)[0], ms.Tensor(0, ms.int32)
        seed, shapes = seed_of((*frames, *constants, *state, outputs, *ends)), geometries(cell, self.operands)
        state, dstate = live(state, seed, count), live(ends, seed, count)
        dh, dc = dstate[0], dstate[count - 1]
        dx = buffer(time, mops.gather(x, index, 0), seed, 2)
        dcontext = buffer(time, mops.gather(context, index, 0), seed, 2 + contexts)
        total = live((operations.ZerosLike()(flat(constants, 0, len(constants))),), seed, 1)[0]
        while index < time:
            t = index if reverse else time - 1 - index
            frame = mops.gather(x, t, 0)
            old_h = before(kept[0], state[0], t, time, reverse)
            old_c = old_h if count == 1 else before(kept[count - 1], state[count - 1], t, time, reverse)
            gates = frames_at((first, second, third, fourth), t)
            held: Any = ()
            dh = mops.gather(outputs, t, 0) + dh
            for each in lengths:
                nothing: Any = (operations.ZerosLike()(dh), operations.ZerosLike()(dc))
                held = ((SELECT(each > t, nothing[0], dh), SELECT(each > t, nothing[1], dc)),)
                dh, dc = SELECT(each > t, dh, nothing[0]), SELECT(each > t, dc, nothing[1])
            da, dh, dc, more = self.back((old_h, old_c), gates, constants, shapes, dh, dc)
            for each in held:
                dh, dc = dh + each[0], dc + each[1]
            dframe, dweight = slope(frame, constants[0], shapes[0], da)
            dx = written(dx, t, dframe)
            dcontext = dx if contexts == 0 else written(dcontext, t, da)
            total = total + flat((dweight, slopes.BiasAddGrad()(da), *more), 0, len(constants))
            index = index + 1
        dlengths: Any = ()
        for each in lengths:
            dlengths = (*dlengths, operations.ZerosLike()(each))
        dframes = pair(dx, dcontext, len(frames))
        return 0, False, dframes, shaped(total, constants), pair(dh, dc, count), dlengths


class ResetBefore(Kept):
    """``equations.gru_before``; r, z and n are kept."""

    operands = ("ih", "bias", "hh_rz", "hh_n")
    keeps = 3

    def advance(self, frames: Any, state: Any, p: Any, shapes: Any) -> Any:
        """The new state and what is kept."""
        h = state[0]
        x_r, x_z, x_n = split(of_input(frames, p, shapes), 3)
        h_r, h_z = split(straight(h, p[2], shapes[2]), 2)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        n = tanh(x_n + straight(r * h, p[3], shapes[3]))
        new = z * h + (1 - z) * n
        return (new, new), (r, z, n)

    def back(self, state: Any, kept: Any, p: Any, shapes: Any, dnew: Tensor, unused: Tensor) -> Any:
        """The gradients of the pre-activations, of h and c, and of the state's parameters.

        A GRU has no c; what stands in its place is h again.
        """
        h, r, z, n = state[0], kept[0], kept[1], kept[2]
        dn = slopes.TanhGrad()(n, dnew * (1 - z))
        dreset, du_n = slope(r * h, p[3], shapes[3], dn)
        dr, dz = slopes.SigmoidGrad()(r, dreset * h), slopes.SigmoidGrad()(z, dnew * (h - n))
        dh, du_rz = slope(h, p[2], shapes[2], CONCAT((dr, dz)))
        dh = dh + dreset * r + dnew * z
        return CONCAT((dr, dz, dn)), dh, dh, (du_rz, du_n)


class ResetAfter(Kept):
    """``equations.gru_after``; r, z, n, and U_n*h + b_hn are kept."""

    operands = ("ih", "bias", "hh", "bias_hn")
    keeps = 4

    def advance(self, frames: Any, state: Any, p: Any, shapes: Any) -> Any:
        """The new state and what is kept."""
        h = state[0]
        x_r, x_z, x_n = split(of_input(frames, p, shapes), 3)
        h_r, h_z, h_n = split(straight(h, p[2], shapes[2]), 3)
        h_n = operations.BiasAdd()(h_n, p[3])  # pyright: ignore
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        n = tanh(x_n + r * h_n)
        new = z * h + (1 - z) * n
        return (new, new), (r, z, n, h_n)

    def back(self, state: Any, kept: Any, p: Any, shapes: Any, dnew: Tensor, unused: Tensor) -> Any:
        """As ``ResetBefore.back``."""
        h, r, z, n, h_n = state[0], kept[0], kept[1], kept[2], kept[3]
        dn = slopes.TanhGrad()(n, dnew * (1 - z))
        dr, dz = slopes.SigmoidGrad()(r, dn * h_n), slopes.SigmoidGrad()(z, dnew * (h - n))
        dh_n = dn * r
        dh, du = slope(h, p[2], shapes[2], CONCAT((dr, dz, dh_n)))
        dh = dh + dnew * z
        return CONCAT((dr, dz, dn)), dh, dh, (du, slopes.BiasAddGrad()(dh_n))


class LSTM(Kept):
    """``equations.lstm`` without peepholes; i, f, g and o are kept."""

    operands = ("ih", "bias", "hh")
    keeps = 4

    def advance(self, frames: Any, state: Any, p: Any, shapes: Any) -> Any:
        """The new state and what is kept."""
        h, c = state
        i, f, g, o = split(of_input(frames, p, shapes) + straight(h, p[2], shapes[2]), 4)
        i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
        c = f * c + i * g
        return (o * tanh(c), c), (i, f, g, o)

    def back(self, state: Any, kept: Any, p: Any, shapes: Any, dnew: Tensor, dc: Tensor) -> Any:
        """As ``ResetBefore.back``."""
        h, c, i, f, g, o = state[0], state[1], kept[0], kept[1], kept[2], kept[3]
        squashed = tanh(f * c + i * g)
        dc = dc + slopes.TanhGrad()(squashed, dnew * o)
        di, df = slopes.SigmoidGrad()(i, dc * g), slopes.SigmoidGrad()(f, dc * c)
        dg, do = slopes.TanhGrad()(g, dc * i), slopes.SigmoidGrad()(o, dnew * squashed)
        da = CONCAT((di, df, dg, do))
        dh, du = slope(h, p[2], shapes[2], da)
        return da, dh, dc * f, (du,)


KINDS: dict[str, Kept] = {"gru before": ResetBefore(), "gru after": ResetAfter(), "lstm": LSTM()}


@constexpr
def kind(cell: Any, double: bool) -> str:
    """Which of ``KINDS`` a layer is, of float64 or not; "" for none of them."""
    plain_gates = cell.norm is None and cell.peephole is None and len(cell.steps) == 1
    usual = cell.activation == "tanh" and cell.recurrent_activation == "sigmoid"
    name = f"gru {cell.reset}" if cell.cell == "gru" else cell.cell
    shapes = [each.convolution for each in cell.operands.values() if each.convolution is not None]
    if double or name not in KINDS or not (plain_gates and usual and all(map(direct, shapes))):
        return ""
    return name


def sigmoid(a: Tensor) -> Tensor:
    """``ops.sigmoid``, in float32 and float16."""
    return (half_tanh(a.astype(ms.float32) * 0.25) + 0.5).astype(a.dtype)


def tanh(a: Tensor) -> Tensor:
    """``ops.tanh``, in float32 and float16."""
    half = half_tanh(a.astype(ms.float32) * 0.5)
    return (half + half).astype(a.dtype)


def half_tanh(a: Tensor) -> Tensor:
    """``ops.half_tanh``."""
    t = mops.tanh(a)
    return t * operations.Reciprocal()(t * t + 1)  # pyright: ignore


def split(a: Tensor, n: int) -> Any:
    """``ops.split``."""
    return operations.Split(1, n)(a)  # pyright: ignore


def constants_of(names: Any, cell: Any, p: Any, x: Tensor) -> Any:
    """Some of a step's prepared parameters by name; zeros for a bias that it has not."""
    constants = []
    for name in names:
        if name in p[0]:
            operand = p[ops.position(p[0], name)]
            constants.append(operand[0] if isinstance(operand, tuple) else operand)
        else:
            rows = cell.hidden_channels if name == "bias_hn" else cell.gates * cell.hidden_channels
            constants.append(mops.zeros((rows,), x.dtype))
    return tuple(constants)


def of_input(frames: Any, p: Any, shapes: Any) -> Tensor:
    """W*x + b, and the context if there is one."""
    a = operations.BiasAdd()(straight(frames[0], p[0], shapes[0]), p[1])  # pyright: ignore
    for each in frames[1:]:
        a = a + each
    return a


@constexpr
def geometries(cell: Any, names: Any) -> Any:
    """The geometry of each operand that is a kernel; () for the others."""
    convolutions = [cell.operands[name].convolution if name in cell.operands else None for name in names]
    return tuple(() if each is None else plain(each) for each in convolutions)
