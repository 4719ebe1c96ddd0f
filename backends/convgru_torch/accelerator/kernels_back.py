"""The pointwise part of a step as Triton kernels, back: see ``kernels``, and ``plain_back``."""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"
# pyright: basic, reportMissingImports=false, reportIndexIssue=false
# pyright: reportArgumentType=false, reportOptionalOperand=false

from __future__ import annotations

import triton
import triton.language as tl

from convgru_torch.accelerator.kernels import ROW, activation, elements, peephole, read, write


@triton.jit
def derivative(y, NAME: tl.constexpr):
    """φ'(a), from y = φ(a), which may be infinite."""
    none = tl.full(y.shape, 0, y.dtype)
    if NAME == "tanh":
        return 1 - y * y
    elif NAME == "sigmoid":
        return y * (1 - y)
    elif NAME == "relu":
        return tl.where(y > 0, none + 1, none)
    elif NAME == "leaky_relu":
        return tl.where(y > 0, none + 1, none + 0.01)
    elif NAME == "hard_sigmoid":
        return tl.where((y > 0) & (y < 1), (none + 1) / 6, none)
    else:
        tl.static_assert(NAME == "hard_sigmoid_0.2")
        return tl.where((y > 0) & (y < 1), none + 0.2, none)


@triton.jit
def arriving(given, carry, conv, e, ok, COMPUTE: tl.constexpr):
    """The gradient of the state after a frame: the output's, and what later frames gave."""
    total = (e * 0).to(COMPUTE)
    if given is not None:
        total += read(given, e, ok, COMPUTE)
    if carry is not None:
        total += read(carry, e, ok, COMPUTE)
    if conv is not None:
        total += read(conv, e, ok, COMPUTE)
    return total


@triton.jit(do_not_specialize_on_alignment=ROW)
def gru_blend_back(
    given, carry, conv, a, h, invalid, rz, dn, count, cols, sample,
    OUTER: tl.constexpr, INNER: tl.constexpr, COMPUTE: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Of z and n, and dh∘z into carry, of a GRU with the reset gate before."""
    e, ok, row, col = elements(count, cols, BLOCK, WIDE)
    dh = arriving(given, carry, conv, e, ok, COMPUTE)
    z, n = read(a, row * 3 * cols + col + cols, ok, COMPUTE), read(a, row * 3 * cols + col + 2 * cols, ok, COMPUTE)
    dz = dh * (read(h, e, ok, COMPUTE) - n) * derivative(z, OUTER)
    if invalid is not None:
        dz = tl.where(tl.load(invalid + e // sample, mask=ok, other=0) != 0, 0.0, dz)
    write(rz, row * 2 * cols + col + cols, dz, ok)
    write(dn, e, dh * (1 - z) * derivative(n, INNER), ok)
    write(carry, e, dh * z, ok)


@triton.jit
def gru_reset_back(
    through, a, h, rz, carry, count, cols,
    OUTER: tl.constexpr, COMPUTE: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Of r, from the gradient of r∘h, whose part of h is added to carry."""
    e, ok, row, col = elements(count, cols, BLOCK, WIDE)
    grad, r = read(through, e, ok, COMPUTE), read(a, row * 3 * cols + col, ok, COMPUTE)
    write(rz, row * 2 * cols + col, grad * read(h, e, ok, COMPUTE) * derivative(r, OUTER), ok)
    write(carry, e, read(carry, e, ok, COMPUTE) + grad * r, ok)


@triton.jit(do_not_specialize_on_alignment=ROW)
def gru_after_back(
    given, carry, conv, a, held, h, invalid, gx, gh, count, cols, sample,
    OUTER: tl.constexpr, INNER: tl.constexpr, COMPUTE: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Of all gates of a GRU with the reset gate after: as W has them, and as U has them."""
    e, ok, row, col = elements(count, cols, BLOCK, WIDE)
    at = row * 3 * cols + col
    dh = arriving(given, carry, conv, e, ok, COMPUTE)
    r, z = read(a, at, ok, COMPUTE), read(a, at + cols, ok, COMPUTE)
    n = read(a, at + 2 * cols, ok, COMPUTE)
    dz = dh * (read(h, e, ok, COMPUTE) - n) * derivative(z, OUTER)
    if invalid is not None:
        dz = tl.where(tl.load(invalid + e // sample, mask=ok, other=0) != 0, 0.0, dz)
    dn = dh * (1 - z) * derivative(n, INNER)
    dr = dn * read(held, e, ok, COMPUTE) * derivative(r, OUTER)
    write(gx, at, dr, ok)
    write(gh, at, dr, ok)
    write(gx, at + cols, dz, ok)
    write(gh, at + cols, dz, ok)
    write(gx, at + 2 * cols, dn, ok)
    write(gh, at + 2 * cols, dn * r, ok)
    write(carry, e, dh * z, ok)


@triton.jit(do_not_specialize_on_alignment=ROW)
def lstm_back(
    given, carry, conv, dc, a, c, new_c, pi, pf, po, invalid, gates, count, cols, inner, sample,
    PEEP: tl.constexpr, OUTER: tl.constexpr, INNER: tl.constexpr,
    COMPUTE: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Of all gates of an LSTM, and of the old c into dc; carry gets what padding passes on."""
    e, ok, row, col = elements(count, cols, BLOCK, WIDE)
    at, channel = row * 4 * cols + col, col // inner
    dh = arriving(given, carry, conv, e, ok, COMPUTE)
    if invalid is not None:
        padding = tl.load(invalid + e // sample, mask=ok, other=0) != 0
        write(carry, e, tl.where(padding, dh, 0.0), ok)
        dh = tl.where(padding, 0.0, dh)
    i, f = read(a, at, ok, COMPUTE), read(a, at + cols, ok, COMPUTE)
    g, o = read(a, at + 2 * cols, ok, COMPUTE), read(a, at + 3 * cols, ok, COMPUTE)
    shown = activation(read(new_c, e, ok, COMPUTE), INNER)
    do = dh * shown * derivative(o, OUTER)
    total = read(dc, e, ok, COMPUTE) + dh * o * derivative(shown, INNER)
    if PEEP:
        total += peephole(po, do, e, channel, sample, ok, PEEP, COMPUTE)
    di = total * g * derivative(i, OUTER)
    df = total * read(c, e, ok, COMPUTE) * derivative(f, OUTER)
    if invalid is not None:
        di, df = tl.where(padding, 0.0, di), tl.where(padding, 0.0, df)
    write(gates, at, di, ok)
    write(gates, at + cols, df, ok)
    write(gates, at + 2 * cols, total * i * derivative(g, INNER), ok)
    write(gates, at + 3 * cols, do, ok)
    total = total * f
    if PEEP:
        total += peephole(pi, di, e, channel, sample, ok, PEEP, COMPUTE)
        total += peephole(pf, df, e, channel, sample, ok, PEEP, COMPUTE)
    write(dc, e, total, ok)


@triton.jit(do_not_specialize_on_alignment=ROW)
def rnn_back(
    given, carry, conv, y, invalid, gate, count, cols, sample,
    INNER: tl.constexpr, COMPUTE: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Of an RNN's pre-activation, from its state; carry gets what padding passes on."""
    e, ok, _row, _col = elements(count, cols, BLOCK, WIDE)
    dh = arriving(given, carry, conv, e, ok, COMPUTE)
    if invalid is not None:
        padding = tl.load(invalid + e // sample, mask=ok, other=0) != 0
        write(carry, e, tl.where(padding, dh, 0.0), ok)
        dh = tl.where(padding, 0.0, dh)
    write(gate, e, dh * derivative(read(y, e, ok, COMPUTE), INNER), ok)
