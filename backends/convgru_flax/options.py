"""Constructor options of the Flax modules: the core's tables with ``use_bias``, and nnx's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import jax.numpy as jnp
from flax import nnx

from convgru.spec import ForecasterSpec, Ints, NetworkSpec, Spec, forecaster, network
from convgru.spec import options as spec_options
from convgru.spec.options import CellOptions, GRUOptions, LSTMOptions, StackOptions, refuse_unknown
from convgru_flax.parameters import Initializer


class ParameterOptions(TypedDict, total=False):
    """Where the parameters come from, and the metadata of their nnx.Param."""

    param_dtype: Any
    kernel_init: Initializer | None
    recurrent_kernel_init: Initializer | None
    bias_init: Initializer | None
    kernel_metadata: Mapping[str, Any] | None
    recurrent_kernel_metadata: Mapping[str, Any] | None
    bias_metadata: Mapping[str, Any] | None
    arrays: Mapping[str, Any] | None
    rngs: nnx.Rngs | None


class StepOptions(TypedDict, total=False):
    """How every module computes."""

    dtype: Any
    method: str


class CallOptions(StepOptions, total=False):
    """How a module that runs over sequences is called."""

    time_major: bool
    deterministic: bool
    checkpoint_frames: int | None


class RNNCellOptions(CellOptions, StepOptions, ParameterOptions, total=False):
    """What a ConvRNNCell has."""

    ndim: int
    use_bias: bool


class GRUCellOptions(RNNCellOptions, GRUOptions, total=False):
    """What a ConvGRUCell has."""


class LSTMCellOptions(RNNCellOptions, LSTMOptions, total=False):
    """What a ConvLSTMCell has."""


class RNNStackOptions(RNNCellOptions, StackOptions, CallOptions, total=False):
    """What a ConvRNN has."""


class GRUStackOptions(GRUCellOptions, StackOptions, CallOptions, total=False):
    """What a ConvGRU has."""


class LSTMStackOptions(LSTMCellOptions, StackOptions, CallOptions, total=False):
    """What a ConvLSTM has."""


class ForecasterOptions(RNNCellOptions, spec_options.ForecasterOptions, CallOptions, total=False):
    """What a Forecaster has besides its own arguments: what its networks have."""

    patch: Ints
    residual: bool
    decoder: bool | NetworkSpec
    feedback: bool


DEFAULTS: dict[str, Any] = {
    "use_bias": True,
    "patch": 1,
    "residual": True,
    "decoder": False,
    "feedback": True,
    "time_major": False,
    "dtype": None,
    "param_dtype": jnp.float32,
    "method": "fast",
    "deterministic": False,
    "checkpoint_frames": None,
    "kernel_init": None,
    "recurrent_kernel_init": None,
    "bias_init": None,
    "kernel_metadata": None,
    "recurrent_kernel_metadata": None,
    "bias_metadata": None,
    "arrays": None,
    "rngs": None,
}
"""The options that ``convgru.network`` does not have, in the order of the signatures."""


def split(owner: str, options: Mapping[str, Any], table: type) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Sort a constructor's options into those of the network, of its parameters, and of calls.

    Raises TypeError for one that the table does not have.
    """
    refuse_unknown(owner, options, table)
    stored = {name: options[name] for name in ParameterOptions.__annotations__ if name in options}
    called = {name: options[name] for name in CallOptions.__annotations__ if name in options}
    rest = {name: value for name, value in options.items() if name not in {*stored, *called}}
    return {"bias" if name == "use_bias" else name: value for name, value in rest.items()}, stored, called


def network_spec(
    owner: str,
    kind: str,
    in_features: int | NetworkSpec,
    hidden_features: Any,
    kernel_size: Any,
    num_layers: int | None,
    options: Mapping[str, Any],
) -> NetworkSpec:
    """Make the spec that a constructor's arguments describe, or return the one given instead."""
    if isinstance(in_features, ForecasterSpec):
        raise TypeError(f"{owner} expected a number of channels or a NetworkSpec, got a ForecasterSpec")
    if isinstance(in_features, NetworkSpec):
        _refuse_beside_spec(owner, options, hidden_features, kernel_size, num_layers)
        if in_features.cell != kind:
            raise ValueError(f"{owner} expected a spec of cell {kind!r}, got {in_features.cell!r}")
        return in_features
    if hidden_features is None:
        raise TypeError(f"{owner} expected hidden_features, the channels of the hidden state, got None")
    return network(kind, in_features, hidden_features, kernel_size, num_layers, **options)


def forecaster_spec(
    owner: str,
    cell: str | ForecasterSpec,
    channels: int | None,
    hidden_features: Any,
    kernel_size: Any,
    num_layers: int | None,
    options: Mapping[str, Any],
) -> ForecasterSpec:
    """Make a forecaster's spec from the constructor's arguments, or return the one given."""
    if isinstance(cell, NetworkSpec):
        raise TypeError(f"{owner} expected the name of a cell or a ForecasterSpec, got a NetworkSpec")
    if isinstance(cell, ForecasterSpec):
        _refuse_beside_spec(owner, options, hidden_features, kernel_size, num_layers, channels=channels)
        return cell
    if channels is None or hidden_features is None:
        raise TypeError(f"{owner} expected channels and hidden_features, got {channels!r} and {hidden_features!r}")
    return forecaster(cell, channels, hidden_features, kernel_size, num_layers, **options)


def _refuse_beside_spec(
    owner: str,
    options: Mapping[str, Any],
    hidden_features: Any,
    kernel_size: Any,
    num_layers: Any,
    **others: Any,
) -> None:
    """Raise TypeError for arguments that describe a network beside a spec of the whole network."""
    kernel_size = None if kernel_size == 3 else kernel_size  # the default
    others |= {"hidden_features": hidden_features, "kernel_size": kernel_size, "num_layers": num_layers}
    if given := [name for name, value in others.items() if value is not None] + list(options):
        raise TypeError(f"{owner} expected a spec alone to describe the network, got {', '.join(given)} beside it")


def check_spec(owner: str, spec: object, kind: type[Spec]) -> None:
    """Raise TypeError for anything but a spec of this kind."""
    if not isinstance(spec, kind):
        raise TypeError(f"{owner} expected a {kind.__name__}, got {type(spec).__name__}")
