"""The options of the public modules: ``convgru.spec.options`` and what MindSpore adds."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

import mindspore as ms

from convgru.spec import options as spec_options
from convgru.spec.options import explicit, refuse_unknown

OWN: dict[str, Any] = {"dtype": ms.float32, "batch_first": False, "impl": "auto"}
"""The options that no spec has, and their defaults."""
DEFAULTS: dict[str, Any] = {"has_bias": True, **OWN}
"""The same, and MindSpore's word for ``bias``."""


class MindSporeOptions(TypedDict, total=False):
    """The options that MindSpore's modules add to those of the spec."""

    has_bias: bool
    dtype: Any


class RNNCellOptions(spec_options.CellOptions, MindSporeOptions, total=False):
    """The options of a ConvRNNCell."""


class GRUCellOptions(RNNCellOptions, spec_options.GRUOptions, total=False):
    """The options of a ConvGRUCell."""


class LSTMCellOptions(RNNCellOptions, spec_options.LSTMOptions, total=False):
    """The options of a ConvLSTMCell."""


Impl = Literal["auto", "readable", "fast"]
IMPLS: tuple[Impl, ...] = ("auto", "readable", "fast")
"""How the loop over time runs in a graph."""


class SequenceOptions(TypedDict, total=False):
    """The options that stacks and forecasters add."""

    batch_first: bool
    impl: Impl


class ConvRNNOptions(RNNCellOptions, spec_options.StackOptions, SequenceOptions, total=False):
    """The options of a ConvRNN."""


class ConvGRUOptions(GRUCellOptions, spec_options.StackOptions, SequenceOptions, total=False):
    """The options of a ConvGRU."""


class ConvLSTMOptions(LSTMCellOptions, spec_options.StackOptions, SequenceOptions, total=False):
    """The options of a ConvLSTM."""


class ForecasterOptions(RNNCellOptions, spec_options.ForecasterOptions, SequenceOptions, total=False):
    """The options of a Forecaster besides its own arguments: those of its networks."""


def split_options(owner: str, given: dict[str, Any], options: type) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options for the spec, under its names, and those of the module itself.

    Raises TypeError, as Python does, for an option that is not in the table ``options``.
    """
    refuse_unknown(owner, given, options)
    module_options = {
        name: given.get(name, default) for name, default in OWN.items() if name in options.__annotations__
    }
    renamed = {"bias" if name == "has_bias" else name: value for name, value in given.items() if name not in OWN}
    return renamed, module_options


__all__ = [
    "DEFAULTS",
    "IMPLS",
    "ConvGRUOptions",
    "ConvLSTMOptions",
    "ConvRNNOptions",
    "ForecasterOptions",
    "GRUCellOptions",
    "Impl",
    "LSTMCellOptions",
    "RNNCellOptions",
    "explicit",
    "split_options",
]
