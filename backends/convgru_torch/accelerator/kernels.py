"""The pointwise part of a step as Triton kernels, forward: one element of the state a lane.

A frame holds rows of ``cols`` numbers of the state: of a pixel's channels where channels are last
in memory, and ``inner`` is 1; of a sample where they are not, and ``inner`` is the pixels'
number. Gate g of the element in column c of a row stands in column g·cols + c. Arithmetic is
COMPUTE's, whatever the tensors are of. Arguments are those of ``plain``.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"
# pyright: basic, reportMissingImports=false, reportIndexIssue=false
# pyright: reportArgumentType=false, reportOptionalOperand=false

from __future__ import annotations

import triton
import triton.language as tl

ROW = ["invalid"]
"""A row of bytes for each frame, aligned by chance: no reason to compile a kernel anew."""


@triton.jit
def tanh(a):
    """The hyperbolic tangent: by exp, and about zero, where that cancels, as a fraction."""
    e = tl.exp(-2 * tl.abs(a))
    far = (1 - e) / (1 + e)
    s = tl.minimum(a * a, 0.25)
    top = 135135 + s * (17325 + s * (378 + s))
    near = a * top / (135135 + s * (62370 + s * (3150 + s * 28)))
    return tl.where(a * a <= 0.25, near, tl.where(a < 0, -far, far))


@triton.jit
def clipped(a):
    """Between 0 and 1; what is no number stays none, which minimum and maximum would not do."""
    return tl.where(a < 0, 0.0, tl.where(a > 1, 1.0, a))


@triton.jit
def activation(a, NAME: tl.constexpr):
    """φ(a); the names are those of ``convgru.spec.ACTIVATIONS``."""
    if NAME == "tanh":
        return tanh(a)
    elif NAME == "sigmoid":
        return 1 / (1 + tl.exp(-a))
    elif NAME == "relu":
        return tl.where(a < 0, tl.full(a.shape, 0, a.dtype), a)  # a * 0 would be NaN for an infinite a
    elif NAME == "leaky_relu":
        return tl.where(a > 0, a, a * 0.01)
    elif NAME == "hard_sigmoid":
        return clipped(a / 6 + 0.5)
    else:
        tl.static_assert(NAME == "hard_sigmoid_0.2")
        return clipped(a * 0.2 + 0.5)


@triton.jit
def elements(count, cols, BLOCK: tl.constexpr, WIDE: tl.constexpr):
    """The elements of a program: their numbers, whether they are there, row and column."""
    start = tl.program_id(0)
    if WIDE:
        start = start.to(tl.int64)
    e = start * BLOCK + tl.arange(0, BLOCK)
    row = e // cols
    return e, e < count, row, e - row * cols


@triton.jit
def read(p, at, ok, COMPUTE: tl.constexpr):
    """Numbers of a tensor as COMPUTE's."""
    return tl.load(p + at, mask=ok, other=0).to(COMPUTE)


@triton.jit
def before(a, u, bias, ra, ru, channel, g: tl.constexpr, gu: tl.constexpr, cols, hidden, ok, COMPUTE: tl.constexpr):
    """The pre-activation of gate g of a, which is gate gu of u: a + u + b."""
    s = read(a, ra + g * cols, ok, COMPUTE) + read(u, ru + gu * cols, ok, COMPUTE)
    if bias is not None:
        s += read(bias, g * hidden + channel, ok, COMPUTE)
    return s


@triton.jit
def write(p, at, value, ok):
    """Store numbers in the tensor's own dtype."""
    tl.store(p + at, value.to(p.dtype.element_ty), mask=ok)


@triton.jit(do_not_specialize_on_alignment=ROW)
def gru_reset(
    a, u, bias, h, invalid, rh, count, cols, inner, hidden, sample,
    OUTER: tl.constexpr, COMPUTE: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """R and z of a GRU with the reset gate before, into a; r∘h."""
    e, ok, row, col = elements(count, cols, BLOCK, WIDE)
    ra, ru, channel = row * 3 * cols + col, row * 2 * cols + col, col // inner
    r = activation(before(a, u, bias, ra, ru, channel, 0, 0, cols, hidden, ok, COMPUTE), OUTER)
    z = activation(before(a, u, bias, ra, ru, channel, 1, 1, cols, hidden, ok, COMPUTE), OUTER)
    if invalid is not None:
        z = tl.where(tl.load(invalid + e // sample, mask=ok, other=0) != 0, 1.0, z)
    write(a, ra, r, ok)
    write(a, ra + cols, z, ok)
    write(rh, e, r * read(h, e, ok, COMPUTE), ok)


@triton.jit
def gru_blend(
    a, u, bias, h, new, low, count, cols, inner, hidden,
    INNER: tl.constexpr, COMPUTE: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """N of a GRU with the reset gate before, into a, and the new state."""
    e, ok, row, col = elements(count, cols, BLOCK, WIDE)
    ra = row * 3 * cols + col
    n = activation(before(a, u, bias, ra, e, col // inner, 2, 0, cols, hidden, ok, COMPUTE), INNER)
    z = read(a, ra + cols, ok, COMPUTE)
    value = n + z * (read(h, e, ok, COMPUTE) - n)
    value = tl.where(z == 1.0, read(h, e, ok, COMPUTE), value)  # padding: bit by bit
    write(a, ra + 2 * cols, n, ok)
    write(new, e, value, ok)
    if low is not None:
        write(low, e, value, ok)


@triton.jit(do_not_specialize_on_alignment=ROW)
def gru_after(
    a, u, bias, bias_hn, h, invalid, held, new, low, count, cols, inner, hidden, sample,
    OUTER: tl.constexpr, INNER: tl.constexpr, COMPUTE: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """A whole step of a GRU with the reset gate after: gates into a, U_n*h + b_hn into held."""
    e, ok, row, col = elements(count, cols, BLOCK, WIDE)
    at, channel = row * 3 * cols + col, col // inner
    r = activation(before(a, u, bias, at, at, channel, 0, 0, cols, hidden, ok, COMPUTE), OUTER)
    z = activation(before(a, u, bias, at, at, channel, 1, 1, cols, hidden, ok, COMPUTE), OUTER)
    if invalid is not None:
        z = tl.where(tl.load(invalid + e // sample, mask=ok, other=0) != 0, 1.0, z)
    seen = read(u, at + 2 * cols, ok, COMPUTE)
    n = read(a, at + 2 * cols, ok, COMPUTE)
    if bias is not None:
        seen += read(bias_hn, channel, ok, COMPUTE)
        n += read(bias, 2 * hidden + channel, ok, COMPUTE)
    n = activation(n + r * seen, INNER)
    old = read(h, e, ok, COMPUTE)
    value = tl.where(z == 1.0, old, n + z * (old - n))
    write(a, at, r, ok)
    write(a, at + cols, z, ok)
    write(a, at + 2 * cols, n, ok)
    if held is not None:
        write(held, e, seen, ok)
    write(new, e, value, ok)
    if low is not None:
        write(low, e, value, ok)


@triton.jit
def peephole(p, c, e, channel, sample, ok, MODE: tl.constexpr, COMPUTE: tl.constexpr):
    """P∘c, with a P for each channel (MODE 1) or for each number of an image (2)."""
    at = channel
    if MODE == 2:
        at = e % sample
    return read(p, at, ok, COMPUTE) * c


@triton.jit(do_not_specialize_on_alignment=ROW)
def lstm(
    a, u, bias, h, c, pi, pf, po, invalid, new_h, new_c, low, count, cols, inner, hidden, sample,
    PEEP: tl.constexpr, OUTER: tl.constexpr, INNER: tl.constexpr,
    COMPUTE: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """A whole step of an LSTM: gates into a, the new state."""
    e, ok, row, col = elements(count, cols, BLOCK, WIDE)
    at, channel = row * 4 * cols + col, col // inner
    old = read(c, e, ok, COMPUTE)
    i = before(a, u, bias, at, at, channel, 0, 0, cols, hidden, ok, COMPUTE)
    f = before(a, u, bias, at, at, channel, 1, 1, cols, hidden, ok, COMPUTE)
    if PEEP:
        i += peephole(pi, old, e, channel, sample, ok, PEEP, COMPUTE)
        f += peephole(pf, old, e, channel, sample, ok, PEEP, COMPUTE)
    i, f = activation(i, OUTER), activation(f, OUTER)
    g = activation(before(a, u, bias, at, at, channel, 2, 2, cols, hidden, ok, COMPUTE), INNER)
    o = before(a, u, bias, at, at, channel, 3, 3, cols, hidden, ok, COMPUTE)
    value = f * old + i * g
    if invalid is not None:
        padding = tl.load(invalid + e // sample, mask=ok, other=0) != 0
        value = tl.where(padding, old, value)
        i, f = tl.where(padding, 0.0, i), tl.where(padding, 1.0, f)
    if PEEP:
        o += peephole(po, value, e, channel, sample, ok, PEEP, COMPUTE)
    o = activation(o, OUTER)
    out = o * activation(value, INNER)
    if invalid is not None:
        out = tl.where(padding, read(h, e, ok, COMPUTE), out)
    write(a, at, i, ok)
    write(a, at + cols, f, ok)
    write(a, at + 2 * cols, g, ok)
    write(a, at + 3 * cols, o, ok)
    write(new_c, e, value, ok)
    write(new_h, e, out, ok)
    if low is not None:
        write(low, e, out, ok)


@triton.jit(do_not_specialize_on_alignment=ROW)
def rnn(
    a, u, bias, h, invalid, new, low, count, cols, inner, hidden, sample,
    INNER: tl.constexpr, COMPUTE: tl.constexpr, BLOCK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """A whole step of an RNN."""
    e, ok, _row, col = elements(count, cols, BLOCK, WIDE)
    value = activation(before(a, u, bias, e, e, col // inner, 0, 0, cols, hidden, ok, COMPUTE), INNER)
    if invalid is not None:
        padding = tl.load(invalid + e // sample, mask=ok, other=0) != 0
        value = tl.where(padding, read(h, e, ok, COMPUTE), value)
    write(new, e, value, ok)
    if low is not None:
        write(low, e, value, ok)
