"""A convolution and its two gradients: three JAX primitives that are each other's derivatives.

The trilinear form Σ x[stride·s + d·k] w[k] g[s] has three derivatives: ``correlate`` with respect
to g (the forward pass), ``spread`` with respect to x (the gradient of x) and ``collect`` with
respect to w (the gradient of w). Each is linear in both of its operands, and its transpose in one
of them is one of the other two. By these rules JAX differentiates them in forward and in reverse
mode, in any order, and never sees what computes them: on CPU ``convolution_cpu``, elsewhere XLA's
own convolution and its transposes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
from jax import numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from convgru_jax import convolution_cpu, sharding
from convgru_jax import convolution_products as products
from convgru_jax.convolution_geometry import Form, Window, collect_by, plain, spread_by

correlate_p = Primitive("convgru_correlate")
spread_p = Primitive("convgru_spread")
collect_p = Primitive("convgru_collect")


def correlate(window: Window, x: jax.Array, w: jax.Array) -> jax.Array:
    """Forward: out[s] = Σ_k x[stride·s + d·k] w[k], for x (B, *S, C) and w (*k, C/groups, O)."""
    return _bind(correlate_p, window, x, w)


def spread(window: Window, w: jax.Array, g: jax.Array) -> jax.Array:
    """Gradient of x: the transpose of ``correlate`` in x, from g (B, *S', O) to (B, *S, C)."""
    return _bind(spread_p, window, w, g)


def collect(window: Window, x: jax.Array, g: jax.Array) -> jax.Array:
    """Gradient of w: the transpose of ``correlate`` in w, of shape (*k, C/groups, O).

    From x (B, *S, C) and g (B, *S', O).
    """
    if sharding.sums_twice(x, g):
        return convolution_cpu.by_group(products.collect)(window, x, g)
    return _bind(collect_p, window, x, g)


def _bind(primitive: Primitive, window: Window, a: jax.Array, b: jax.Array) -> jax.Array:
    a, b = sharding.vary_alike((jnp.asarray(a), jnp.asarray(b)))
    out: jax.Array = primitive.bind(a, b, window=window)
    return out


def _shape_of_correlate(window: Window, x: Any, w: Any) -> tuple[Any, ...]:
    return (x.shape[0], *window.output_size(x.shape[1:-1]), w.shape[-1])


def _shape_of_spread(window: Window, w: Any, g: Any) -> tuple[Any, ...]:
    return (g.shape[0], *window.input_size(g.shape[1:-1]), w.shape[-2] * window.groups)


def _shape_of_collect(window: Window, x: Any, g: Any) -> tuple[Any, ...]:
    return (*window.kernel_size, x.shape[-1] // window.groups, g.shape[-1])


def _define(primitive: Primitive, roles: str, shape: Any, cpu: Any, default: Any) -> None:
    """Say of a primitive what its result is, how vmap maps it, and what computes it.

    ``roles`` are the letters of its operands and its result in the trilinear form.
    """
    compiled = jax.jit(primitive.bind, static_argnames="window")

    def run(a: jax.Array, b: jax.Array, *, window: Window) -> jax.Array:
        with jax.disable_jit(False):  # where a user switched jit off, bind would call this again
            out: jax.Array = compiled(a, b, window=window)
        return out

    primitive.def_impl(run)
    # The result varies along the axes of a mesh as the operands do, which ``_bind`` made alike.
    primitive.def_abstract_eval(lambda a, b, *, window: a.update(shape=shape(window, a, b), weak_type=False))
    batching.primitive_batchers[primitive] = partial(_batched, primitive, roles)
    for platform, form in (("cpu", cpu), (None, default)):
        rule = mlir.lower_fun(partial(_call, form), multiple_results=False)
        mlir.register_lowering(primitive, rule, platform=platform)


def _call(form: Form, a: jax.Array, b: jax.Array, *, window: Window) -> jax.Array:
    return form(window, a, b)


def _batched(primitive: Primitive, roles: str, operands: Any, axes: Any, *, window: Window) -> tuple[jax.Array, int]:
    """vmap: one call of the primitive, with the mapped axis of size N inside an axis that it has.

    Two mapped images have it in their batch; a kernel and an image in the channels that they share.
    Where all three of the form are mapped, there are N times as many groups.
    """
    moved = [a if axis is None else jnp.moveaxis(a, axis, 0) for a, axis in zip(operands, axes, strict=True)]
    mapped = [axis is not None for axis in axes]
    many = next(a.shape[0] for a, is_mapped in zip(moved, mapped, strict=True) if is_mapped)
    letters = {role for role, is_mapped in zip(roles, (*mapped, True), strict=True) if is_mapped}
    if len(letters) == 3:
        window, places = replace(window, groups=many * window.groups), dict.fromkeys("xwg", (-1, 1))
    else:
        places = {
            "gx": {"x": (0, 1), "g": (0, 1)},
            "wx": {"x": (-1, window.groups), "w": (-2, 1)},
            "gw": {"w": (-1, window.groups), "g": (-1, window.groups)},
        }["".join(sorted(letters))]
    folded = [_fold(a, *places[role]) if m else a for a, role, m in zip(moved, roles, mapped, strict=False)]
    return _unfold(_bind(primitive, window, *folded), many, *places[roles[2]]), 0


def _fold(a: jax.Array, axis: int, blocks: int) -> jax.Array:
    """Move the first of the axes (N, …) into ``axis`` of the others: (blocks, N, rest) there."""
    many, *shape = a.shape
    axis %= len(shape)
    before, size, after = shape[:axis], shape[axis], shape[axis + 1 :]
    cut = jnp.moveaxis(a.reshape(many, *before, blocks, size // blocks, *after), 0, axis + 1)
    return cut.reshape(*before, many * size, *after)


def _unfold(a: jax.Array, many: int, axis: int, blocks: int) -> jax.Array:
    """Undo ``_fold``."""
    axis %= a.ndim
    before, size, after = a.shape[:axis], a.shape[axis] // many, a.shape[axis + 1 :]
    cut = jnp.moveaxis(a.reshape(*before, blocks, many, size // blocks, *after), axis + 1, 0)
    return cut.reshape(many, *before, size, *after)


_define(correlate_p, "xwg", _shape_of_correlate, convolution_cpu.correlate, plain)
_define(spread_p, "wgx", _shape_of_spread, convolution_cpu.spread, partial(spread_by, plain))
_define(collect_p, "xgw", _shape_of_collect, convolution_cpu.collect, partial(collect_by, plain))

ad.defbilinear(
    correlate_p,
    lambda g, x, w, *, window: spread(window, w, g),
    lambda g, x, w, *, window: collect(window, x, g),
)
ad.defbilinear(
    spread_p,
    lambda x, w, g, *, window: collect(window, x, g),
    lambda x, w, g, *, window: correlate(window, x, w),
)
ad.defbilinear(
    collect_p,
    lambda w, x, g, *, window: spread(window, w, g),
    lambda w, x, g, *, window: correlate(window, x, w),
)
