"""Compute weights that torch saves in parts: weight norm, spectral norm, pruning.

A state dict holds the parts under derived names and not the weight that the network computes with.
This is so for parametrizations and for the older hooks. Where the names and shapes say how the
weight is computed it is computed here, in float64 and rounded once; pruning is exact. Every other
parametrization is code, which no state dict holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

import numpy as np

from convgru.weights import DTYPES

Arrays = Mapping[str, np.ndarray]
_PART = re.compile(r"(?P<owner>(?:.*\.)?)parametrizations\.(?P<weight>[^.]+)\.(?P<part>.+)", re.DOTALL)
"""Names that ``torch.nn.utils.parametrize`` gives the parts of a weight of the module ``owner``."""
MAX_DEPTH = 4
MAX_SHARING = 4
"""How often weights may use the same bytes of a file: a small file must not ask for much memory."""


def with_weights(arrays: Arrays) -> dict[str, np.ndarray]:
    """Replace the parts of weight norm, spectral norm and pruning by the weight they make.

    Parts from which the weight cannot be computed stay as they are (``unknown`` lists them).
    """
    result = dict(arrays)
    for _ in range(MAX_DEPTH):  # a weight that is both pruned and normalised is saved as parts of a part
        parts = {name: names for name, names in _parts(result).items() if name not in result}
        if not parts or _shares_memory([result[part] for names in parts.values() for part in names.values()]):
            break
        weights = {name: _weight({part: result[full] for part, full in names.items()}) for name, names in parts.items()}
        for name, weight in weights.items():
            if weight is not None:
                for part in parts[name].values():
                    result.pop(part, None)
                result[name] = weight
        if all(weight is None for weight in weights.values()):
            break
    return result


def unknown(names: Collection[str]) -> dict[str, list[str]]:
    """Each weight of which there are only parts, and the names of the parts."""
    return {name: list(parts.values()) for name, parts in _parts(names).items() if name not in names}


def advice(weights: Mapping[str, list[str]]) -> str:
    """Why these weights cannot be read, and what to do."""
    weight, parts = next(iter(weights.items()))
    hook = next((kind for kind in _HOOKS if all(f"{weight}_{part}" in parts for part in kind)), ())
    more = f" (and {len(weights) - 1} more)" if len(weights) > 1 else ""
    return (
        f"{weight[:80]}{more} is saved in parts, {', '.join(part[:120] for part in parts[:4])}, from which a "
        "parametrization computes it that the arrays do not tell: save the module after "
        f"torch.nn.utils.{_REMOVERS[hook]}(module, name), or use convgru.extract(module)"
    )


def _parts(names: Collection[str]) -> dict[str, dict[str, str]]:
    """Each weight that is saved in parts: role of a part, as ``_weight`` calls it -> its name."""
    parts: dict[str, dict[str, str]] = {}
    for name in names:
        match = _PART.fullmatch(name)
        if match:
            parts.setdefault(match["owner"] + match["weight"], {})[match["part"]] = name
        for kind in _HOOKS:
            first = "_" + kind[0]
            stem = name.removesuffix(first)
            if stem != name and all(f"{stem}_{part}" in names for part in kind):
                parts.setdefault(stem, {part: f"{stem}_{part}" for part in kind})
    return parts


def _weight(parts: Arrays) -> np.ndarray | None:
    """Compute the weight from its parts; None if they do not determine it."""
    compute = _KNOWN.get(frozenset(parts))
    dtypes = {str(part.dtype) for part in parts.values()}
    if compute is None or len(dtypes) != 1 or not dtypes <= DTYPES.keys():
        return None
    with np.errstate(all="ignore"):  # a zero norm gives NaN here as in torch, and is then refused by name
        return compute(parts)


def _shares_memory(parts: list[np.ndarray]) -> bool:
    """Whether the arrays are views of few bytes that claim many numbers."""
    behind, end = 0, 0
    for low, high in sorted(map(_bounds, parts)):
        behind, end = behind + max(0, high - max(low, end)), max(end, high)
    return sum(part.nbytes for part in parts) > MAX_SHARING * behind


def _bounds(array: np.ndarray) -> tuple[int, int]:
    """Addresses of the first byte and of the one after the last, for strides >= 0."""
    start = array.__array_interface__["data"][0]
    last = sum((size - 1) * stride for size, stride in zip(array.shape, array.strides, strict=True))
    return start, start + (last + array.itemsize if array.size else 0)


def _weight_norm(magnitude: np.ndarray, direction: np.ndarray) -> np.ndarray | None:
    """g·v/‖v‖ (Salimans and Kingma 2016, arXiv:1602.07868).

    The norm is taken over the axes along which g has size one.
    """
    kept = [axis for axis, size in enumerate(magnitude.shape) if size > 1]
    sizes = (1,) * direction.ndim if magnitude.ndim == 0 else magnitude.shape
    if len(sizes) != direction.ndim or len(kept) > 1 or any(sizes[axis] != direction.shape[axis] for axis in kept):
        return None
    v = direction.astype(np.float64)
    axes = tuple(axis for axis in range(v.ndim) if axis not in kept)
    norm = np.sqrt(np.square(v).sum(axes, keepdims=True))
    return np.asarray((v * (magnitude.astype(np.float64) / norm)).astype(direction.dtype))


def _spectral_norm(weight: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray | None:
    """W/(uᵀWv) (Miyato et al. 2018, arXiv:1802.05957), as in evaluation.

    Which axis the rows of W are is not saved: it is the first unless the sizes, or u and W·v not
    pointing the same way, say that it is not.
    """
    if u.ndim != 1 or v.ndim != 1 or weight.ndim < 2 or weight.shape[0] != u.size or weight.size != u.size * v.size:
        return None
    rows = weight.reshape(u.size, v.size).astype(np.float64)
    image = rows @ v.astype(np.float64)
    sigma = float(u.astype(np.float64) @ image)
    if not sigma > 0.5 * float(np.linalg.norm(image)):
        return None
    return np.asarray((weight.astype(np.float64) / sigma).astype(weight.dtype))


def _pruned(weight: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """The weight with zeros where the mask has them: exact."""
    return np.asarray(weight * mask) if weight.shape == mask.shape and np.isin(mask, (0, 1)).all() else None


_HOOKS = (("g", "v"), ("orig", "u", "v"), ("orig", "mask"))
"""Suffixes of names from the hooks of torch.nn.utils: weight_norm, spectral_norm, prune."""
_REMOVERS: dict[tuple[str, ...], str] = {
    (): "parametrize.remove_parametrizations",
    **dict(zip(_HOOKS, ("remove_weight_norm", "remove_spectral_norm", "prune.remove"), strict=True)),
}
_KNOWN: dict[frozenset[str], Callable[[Arrays], np.ndarray | None]] = {
    frozenset({"original0", "original1"}): lambda p: _weight_norm(p["original0"], p["original1"]),
    frozenset({"original", "0._u", "0._v"}): lambda p: _spectral_norm(p["original"], p["0._u"], p["0._v"]),
    frozenset({"g", "v"}): lambda p: _weight_norm(p["g"], p["v"]),
    frozenset({"orig", "u", "v"}): lambda p: _spectral_norm(p["orig"], p["u"], p["v"]),
    frozenset({"orig", "mask"}): lambda p: _pruned(p["orig"], p["mask"]),
}
