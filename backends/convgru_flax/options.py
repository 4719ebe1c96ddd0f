"""The options that constructors share, under the names of convgru.spec.network; only a bias is called use_bias, as in Flax."""

from __future__ import annotations

from typing import Any, TypedDict

from convgru.spec import Ints, Norm


class CellOptions(TypedDict, total=False):
    """Of a cell, each with the default that ``convgru.network`` gives it; a tuple is per dimension."""

    ndim: int
    recurrent_kernel_size: Ints | None
    stride: Ints
    recurrent_stride: Ints
    dilation: Ints
    recurrent_dilation: Ints | None
    groups: int
    padding: Any
    padding_mode: str
    use_bias: bool
    reset: str | None
    activation: str
    recurrent_activation: str
    peephole: str | None
    state_size: Ints | None
    norm: Norm | int | tuple[int, ...] | None
    updates: tuple[Ints, ...]


class NetworkOptions(TypedDict, total=False):
    """Of a network: those of its cells, of which a list is per layer, and its own."""

    ndim: int
    recurrent_kernel_size: Ints | list[Ints] | None
    stride: Ints | list[Ints]
    recurrent_stride: Ints | list[Ints]
    dilation: Ints | list[Ints]
    recurrent_dilation: Ints | list[Ints] | None
    groups: int | list[int]
    padding: Any
    padding_mode: str
    use_bias: bool
    reset: str | None
    activation: str
    recurrent_activation: str
    peephole: str | None
    state_size: Ints | list[Ints] | None
    norm: Norm | int | tuple[int, ...] | None
    updates: tuple[Ints, ...]
    bidirectional: bool | str | None
    merge: str
    dropout: float
    recurrent_dropout: float
    zoneout: float
    output_size: Ints | None


def checked(owner: str, options: Any, allowed: type) -> dict[str, Any]:
    """The options as ``convgru.network`` calls them. Raises TypeError for one that is not among the ``allowed``."""
    strange = sorted(options.keys() - allowed.__annotations__.keys())
    if strange:
        raise TypeError(f"{owner} got an unexpected option: {', '.join(strange)}")
    return {"bias" if name == "use_bias" else name: value for name, value in options.items()}
