"""Placement on several devices: what the arrays' types say about their mesh and sharding.

On one device nothing here changes anything. Axes of a mesh are Manual (inside shard_map: arrays
*vary* along them or do not), Explicit (each array's type says how it is sharded) or Auto (XLA
decides, and the type shows only the mesh); traced arrays have these types too.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import jax
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec


def vary_alike(tree: Any, beside: Any = None) -> Any:
    """Inside shard_map, make every array vary along the axes along which any of them does.

    Axes along which ``beside`` (a key, from which masks are drawn) varies count too.

    A scan wants a state that varies as its inputs do, and the derivative rules of the convolution
    cotangents that vary as their primals. Done here, once a call, a gradient of replicated
    parameters is summed over the devices once a call too.
    """
    axes = {axis for leaf in jax.tree.leaves((tree, beside)) for axis in _varying(leaf)}
    if not axes:
        return tree

    def cast(leaf: Any) -> Any:
        missing = tuple(sorted(axes - _varying(leaf), key=str))
        return lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(cast, tree)


def _varying(leaf: Any) -> frozenset[Any]:
    kind = getattr(jax.typeof(leaf), "manual_axis_type", None)
    return frozenset() if kind is None else frozenset(kind.varying)


def explicit(x: jax.Array) -> bool:
    """Return True if the type of x says how it is sharded (its mesh has an Explicit axis).

    JAX then knows the shardings of its own derivatives only.
    """
    return AxisType.Explicit in jax.typeof(x).sharding.mesh.axis_types


def sums_twice(*arrays: jax.Array) -> bool:
    """Return True if XLA may sum the weight gradient over one mesh axis too often.

    XLA's partitioner sums that gradient over all devices where the images are sharded, even over
    those that hold the same pixels: sharded in space along one axis of a mesh and replicated along
    another, dW comes out times the size of the other. It takes a mesh of two axes or more, one of
    them Auto.
    """
    meshes = [jax.typeof(array).sharding.mesh for array in arrays] + [jax.sharding.get_abstract_mesh()]
    for mesh in meshes:
        sizes = [(size, kind) for size, kind in zip(mesh.axis_sizes, mesh.axis_types, strict=True) if size > 1]
        if len(sizes) > 1 and any(kind == AxisType.Auto for _, kind in sizes):
            return True
    return False


def space_sharding(ndim: int, images: Any, *, batch: bool = False) -> NamedSharding | None:
    """Return the sharding of batch and space of the first image whose space is sharded, or None.

    ``images`` is a tree of arrays (…, B, *S, C); what counts is the sharding in their types. With
    ``batch`` a sharded batch counts too: JAX's types refuse to reshape it, as patches do.
    """
    for image in jax.tree.leaves(images):
        if image.ndim >= ndim + 2 and explicit(image):
            sharding = jax.typeof(image).sharding
            axes = tuple(sharding.spec)[-ndim - 2 : -1]
            if any(axis is not None for axis in axes[0 if batch else 1 :]):
                return NamedSharding(sharding.mesh, PartitionSpec(*axes))
    return None


def check_axes(owner: str, ndim: int, images: Any) -> None:
    """Raise ValueError for an image (…, B, *S, C) with time or channels sharded on explicit axes.

    Arrays with fewer axes are no images and are skipped.
    """
    for image in jax.tree.leaves(images):
        if image.ndim >= ndim + 2 and explicit(image):
            spec = tuple(jax.typeof(image).sharding.spec)
            axes = {"channels": spec[-1], "time": spec[0] if image.ndim > ndim + 2 else None}
            for name, axis in axes.items():
                if axis is not None:
                    raise ValueError(
                        f"{owner} expected arrays with {name} whole on each device, got one of shape "
                        f"{image.shape} with {name} sharded over the mesh axis {axis!r}: shard batch or space"
                    )


def run_in_space(function: Callable[..., Any], sharding: NamedSharding, *arguments: Any) -> Any:
    """Call ``function`` with the axes of an explicit mesh handed to XLA (auto_axes).

    JAX's types refuse to pad a dimension that is sharded. The results, all of them images
    (…, B, *S, C), are sharded as ``space_sharding`` says where their sizes allow it.
    """
    shapes = jax.eval_shape(function, *jax.tree.map(_unsharded, arguments))
    results = jax.tree.map(lambda leaf: _fitting(sharding, leaf.shape), shapes)
    return jax.sharding.auto_axes(function, out_sharding=results)(*arguments)


def _unsharded(leaf: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


def _fitting(sharding: NamedSharding, shape: tuple[int, ...]) -> NamedSharding:
    """Sharding of batch and space for a result of ``shape``, without axes that do not divide it."""
    ndim = len(sharding.spec)
    parts = zip(tuple(sharding.spec), shape[-ndim - 1 : -1], strict=True)
    kept = [axes if axes is None or size % _devices(sharding, axes) == 0 else None for axes, size in parts]
    return NamedSharding(sharding.mesh, PartitionSpec(*(None,) * (len(shape) - ndim - 1), *kept, None))


def _devices(sharding: NamedSharding, axes: Any) -> int:
    return prod(sharding.mesh.shape[axis] for axis in (axes if isinstance(axes, tuple) else (axes,)))
