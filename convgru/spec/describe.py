"""Write specs as a user would: for the repr of modules, and for errors about a spec."""

from __future__ import annotations

from dataclasses import MISSING, fields, replace
from typing import Any

from convgru.spec import CellSpec, ForecasterSpec, NetworkSpec, Norm, Spec

DEFAULTS = {field.name: field.default for cls in (NetworkSpec, CellSpec) for field in fields(cls)}
PER_LAYER = (
    *("kernel_size", "recurrent_kernel_size", "stride", "recurrent_stride", "dilation", "recurrent_dilation"),
    *("groups", "padding", "state_size"),
)
"""The arguments of which a list holds one value for each layer."""
STEPS = ("stride", "recurrent_stride", "dilation", "recurrent_dilation")
"""Those of them whose default is 1 in every dimension."""
FOLLOWS = {"recurrent_kernel_size": "kernel_size", "recurrent_dilation": "dilation"}
"""Argument -> the argument whose value is its default."""


def describe(spec: NetworkSpec) -> dict[str, Any]:
    """The arguments of ``network``, other than channels, that are not the defaults."""
    layers, first = spec.layers, spec.layers[0]
    shown: dict[str, Any] = {"kernel_size": _collapse([layer.kernel_size for layer in layers])}
    if first.updates:
        del shown["kernel_size"]  # which the updates name
    if len(layers) > 1:
        shown["num_layers"] = len(layers)
    if spec.ndim != 2:
        shown["ndim"] = spec.ndim
    for name in PER_LAYER[1:]:
        if first.updates and name == "recurrent_kernel_size":
            continue
        values = [getattr(layer, name) for layer in layers]
        other = FOLLOWS.get(name)
        usual = DEFAULTS[name] if name in ("groups", "padding", "state_size") else (1,) * spec.ndim
        if values != [getattr(layer, other) if other else usual for layer in layers]:
            shown[name] = _collapse(values)
    for name in ("padding_mode", "bias", "activation", "recurrent_activation", "peephole", "updates"):
        if getattr(first, name) != DEFAULTS[name]:
            shown[name] = getattr(first, name)
    if first.reset == "after":
        shown["reset"] = "after"
    if first.norm is not None:
        shown["norm"] = _norm(first.norm)
    for name in ("bidirectional", "merge", "dropout", "recurrent_dropout", "zoneout", "output_size"):
        if getattr(spec, name) != DEFAULTS[name]:
            shown[name] = getattr(spec, name)
    return shown


def arguments(channels: int, spec: NetworkSpec, **options: Any) -> str:
    """The arguments of a network as text: ``3, 16, kernel_size=3``."""
    shown = {**describe(spec), **options}
    hidden = _collapse([layer.hidden_channels for layer in spec.layers])
    return ", ".join([repr(channels), repr(hidden), *(f"{name}={value!r}" for name, value in shown.items())])


def forecaster_arguments(spec: ForecasterSpec, **options: Any) -> str:
    """The arguments with which a user would write this forecaster."""
    shown: dict[str, Any] = {"patch": _collapse([spec.patch])}
    for name in ("residual", "feedback"):
        if not getattr(spec, name):
            shown[name] = False
    if spec.decoder is not None:
        shown["decoder"] = True if spec.decoder == spec.encoder else spec.decoder
    return f"{spec.encoder.cell!r}, {arguments(spec.channels, spec.encoder, **shown, **options)}"


def json_arguments(spec: Spec) -> dict[str, Any]:
    """The arguments of the constructor that makes this spec, for JSON, without the defaults.

    JSON turns a tuple (for each dimension) into a list (for each layer). So a tuple is written here
    once for each layer, in a list; ``network`` reads a list within a list as a tuple.

    >>> network(cell, **json.loads(json.dumps(json_arguments(spec)))) == spec  # doctest: +SKIP
    True
    """
    net = spec.recurrent
    shown = describe(net)
    shown["hidden_channels"] = _collapse([layer.hidden_channels for layer in net.layers])
    for name in PER_LAYER:
        if isinstance(shown.get(name), tuple):
            shown[name] = [shown[name]] * len(net.layers)
    if isinstance(spec, ForecasterSpec):
        shown |= {"cell": net.cell, "channels": spec.channels, "patch": spec.patch}
        shown |= {"residual": spec.residual, "feedback": spec.feedback, "decoder": spec.decoder is not None}
        if spec.decoder not in (None, spec.encoder):
            shown["decoder"] = {"cell": spec.decoder.cell, **json_arguments(spec.decoder)}
    else:
        shown["in_channels"] = net.in_channels
    return {name: _jsonable(value) for name, value in shown.items()}


def _jsonable(value: Any) -> Any:
    if isinstance(value, Norm):
        return {"groups": list(value.groups), "eps": value.eps}
    return [*map(_jsonable, value)] if isinstance(value, (tuple, list)) else value


def title(spec: Spec) -> str:
    """E.g. ``ConvGRU(3, 16, kernel_size=3)``."""
    if isinstance(spec, ForecasterSpec):
        return f"{spec.title}({forecaster_arguments(spec)})"
    return f"{spec.title}({arguments(spec.in_channels, spec)})"


def network_text(spec: NetworkSpec) -> str:
    """The call of ``convgru.network`` that makes the spec."""
    return f"network({spec.cell!r}, {arguments(spec.in_channels, spec)})"


def forecaster_text(spec: ForecasterSpec) -> str:
    """The call of ``convgru.forecaster`` that makes the spec."""
    return f"forecaster({forecaster_arguments(spec)})"


def cell_text(cell: CellSpec) -> str:
    """The cell that has this spec: ``ConvGRUCell(3, 16, kernel_size=3)``."""
    return f"{cell.title}Cell({arguments(cell.in_channels, NetworkSpec((cell,)))})"


def computed(spec: Spec) -> Spec:
    """The spec without dropout: equal for two networks that compute the same in evaluation."""
    if isinstance(spec, ForecasterSpec):
        decoder = None if spec.decoder is None else _undropped(spec.decoder)
        return replace(spec, encoder=_undropped(spec.encoder), decoder=decoder)
    return _undropped(spec)


def difference(expected: Spec, got: Spec) -> str:
    """Name the arguments in which two specs differ, as a user would write them."""
    first, second = ({"kind": spec.title, **json_arguments(computed(spec))} for spec in (expected, got))
    names = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    shown = ((name, _shown(first, name), _shown(second, name)) for name in names)
    # An argument that one of the two does not have, for it has updates or is a forecaster, differs
    # for that reason, which another argument names.
    return "; ".join(f"{name} {want}, got {got}" for name, want, got in shown if want and got)


def _shown(arguments: dict[str, Any], name: str) -> str:
    """The value of an argument, or its default; nothing where there is neither."""
    if name in arguments:
        return repr(arguments[name])
    if name in FOLLOWS:
        return "" if "updates" in arguments else repr(arguments.get(FOLLOWS[name], 1))
    usual = {**DEFAULTS, "num_layers": 1, "reset": "before", **dict.fromkeys(STEPS, 1)}.get(name, MISSING)
    return "" if usual is MISSING else f"{usual!r} (the default)"


def _undropped(spec: NetworkSpec) -> NetworkSpec:
    return replace(spec, dropout=0.0, recurrent_dropout=0.0)


def _norm(norm: Norm) -> Any:
    """A norm as ``network`` takes it: a number of groups, a tuple of them, or a Norm."""
    if norm.eps != Norm(norm.groups).eps:
        return norm
    return norm.groups[0] if len(set(norm.groups)) == 1 else norm.groups


def _collapse(values: list[Any]) -> Any:
    """One value for all layers if they agree, one number for all dimensions if those agree."""
    short = [v[0] if isinstance(v, tuple) and len(set(v)) == 1 and isinstance(v[0], int) else v for v in values]
    return short[0] if all(value == short[0] for value in short) else short
