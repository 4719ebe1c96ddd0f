"""Build native networks from weights, load, extract, and port between frameworks."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

from convgru import registry
from convgru.spec import ForecasterSpec, NetworkSpec
from convgru.spec.options import refuse_build_options
from convgru.weights import Weights


def build(weights: Weights, backend: str, **options: Any) -> Any:
    """Build the network of ``weights`` as a native module of one framework; imports no other.

    The parameters get the weights' dtype and bytes. The module is in its framework's usual mode
    after construction.

    Args:
        weights: A spec and its arrays.
        backend: ``"torch"``, ``"flax"``, ``"mindspore"``; ``"jax"`` gives (spec, params).
        options: Options of the native constructor that are not part of a spec: ``batch_first``
            (torch, MindSpore), ``time_major``, ``rngs`` (Flax), ``device``. ``cell=True`` makes a
            bare cell (ConvGRUCell …) of a network of one layer in one direction.

    Raises:
        TypeError: ``weights`` is not convgru.Weights, or an option is unknown.
        ValueError: The backend is unknown, or ``cell=True`` with more than one layer.
        ImportError: The framework is missing; the message gives the command that installs it.
        UnsupportedError: The framework cannot compute in this dtype.

    >>> import convgru
    >>> weights = convgru.init(convgru.network("gru", 3, 8), seed=0)
    >>> net = convgru.build(weights, "torch", batch_first=True)  # doctest: +SKIP
    """
    if not isinstance(weights, Weights):
        raise TypeError(f"build expected convgru.Weights, got {type(weights).__name__}; extract(net) makes them")
    make = registry.get(backend).build
    _check_options(backend, make, options)
    spec = weights.spec
    if options.get("cell") and (isinstance(spec, ForecasterSpec) or spec != NetworkSpec(spec.layers[:1])):
        raise ValueError(
            f'convgru.build(..., "{backend}", cell=True) expected a network of one layer in one direction, without '
            f"dropout or zoneout, which a cell does not have, got {spec}"
        )
    return make(weights, **options)


def _check_options(backend: str, make: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Raise TypeError for an option that a backend's ``build`` does not have.

    A ``build`` that takes ``**options`` checks them itself.
    """
    parameters = inspect.signature(make).parameters.values()
    if not any(each.kind is each.VAR_KEYWORD for each in parameters):
        refuse_build_options(backend, given, [each.name for each in parameters if each.kind is each.KEYWORD_ONLY])


def extract(net: Any) -> Weights:
    """Return the weights of a network of any framework, byte for byte: the inverse of ``build``.

    ``net`` is a module of convgru.torch, convgru.flax or convgru.mindspore, a bare cell included,
    or (spec, params) for JAX. Raises TypeError for anything else, WeightsError if a number in it is
    not finite.

    >>> convgru.extract(net).spec.layers[0].hidden_channels  # doctest: +SKIP
    8
    """
    return registry.get(_owner_of(net)).extract(net)


def load(module: Any, weights: Weights) -> None:
    """Copy weights into a module of your own model, in place: all of them, or none.

    ``module`` is a cell, layer, network or forecaster of convgru.torch, convgru.flax or
    convgru.mindspore, for example ``model.update_block.gru``. Optimizers and wrappers that hold its
    parameters keep them. The inverse is ``extract(module)``.

    Raises:
        TypeError: ``weights`` is not convgru.Weights, or ``module`` is not such a module; JAX has
            none, and ``build(weights, "jax")`` gives new params.
        WeightsError: The module has another spec, dtype or shape; the message says what differs.

    >>> convgru.load(model.update_block.gru, convgru.read("raft.pth"))  # doctest: +SKIP
    """
    if not isinstance(weights, Weights):
        raise TypeError(
            f"load expected convgru.Weights, got {type(weights).__name__}; convgru.read or extract make them"
        )
    try:
        owner = _owner_of(module)
    except TypeError:
        kind = f"{type(module).__module__}.{type(module).__qualname__}"
        raise TypeError(
            "load expected a network, cell or layer of convgru.torch, convgru.flax or convgru.mindspore, "
            f"got {kind}; of a larger model pass the part: load(model.update_block.gru, weights)"
        ) from None
    if owner == "jax":
        raise TypeError(
            'load expected a module, got (spec, params): params are replaced: spec, params = convgru.build(weights, "jax")'
        )
    registry.get(owner).load(module, weights)


def _owner_of(net: Any) -> str:
    """Return the name of the backend that a network belongs to, importing no framework.

    Raises TypeError if it belongs to none.
    """
    for name, package in registry.ROOMS.items():
        if package in sys.modules:  # whoever holds a network of a framework has imported its room
            registry.get(name)
    return registry.owner_of(net)


def port(net: Any, backend: str, **options: Any) -> Any:
    """Make the same network in another framework: ``build(extract(net), backend, **options)``.

    The arrays have one form everywhere, so that a port copies bytes and nothing else. How a call
    lays out its axes is no part of the weights: the new network has its framework's default
    (``batch_first=False``, Flax ``time_major=False``) unless ``options`` say otherwise. For JAX
    ``net`` and the result are (spec, params).

    >>> flax_net = convgru.port(torch_net, "flax")  # doctest: +SKIP
    """
    return build(extract(net), backend, **options)
