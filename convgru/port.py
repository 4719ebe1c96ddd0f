"""Weights into a native network of any framework, back out, and from one framework to another."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

from convgru import registry
from convgru.spec.options import refuse_build_options
from convgru.weights import Weights


def build(weights: Weights, backend: str, **options: Any) -> Any:
    """The network of ``weights`` as a native module of ``backend``: ``torch``, ``flax``, ``mindspore``; ``jax`` gives (spec, params).

    ``options`` are those of the native constructor that are not part of a spec: ``batch_first`` (torch, MindSpore),
    ``time_major`` (Flax), ``device``; ``cell=True`` makes a bare cell. The parameters get the weights' dtype and bytes.

    Raises TypeError for what is not Weights or an unknown option, ValueError for an unknown backend, ImportError (with the command that
    mends it) if the framework is missing, convgru.UnsupportedError if it cannot compute in that dtype.

    >>> import convgru
    >>> weights = convgru.init(convgru.network("gru", 3, 8), seed=0)
    >>> net = convgru.build(weights, "torch", batch_first=True)  # doctest: +SKIP
    """
    if not isinstance(weights, Weights):
        raise TypeError(f"build expected convgru.Weights, got {type(weights).__name__}; extract(net) makes them")
    make = registry.get(backend).build
    _check_options(backend, make, options)
    return make(weights, **options)


def _check_options(backend: str, make: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Raise TypeError for an option that a backend's ``build`` does not have, unless it sorts them itself."""
    parameters = inspect.signature(make).parameters.values()
    if not any(each.kind is each.VAR_KEYWORD for each in parameters):
        refuse_build_options(backend, given, [each.name for each in parameters if each.kind is each.KEYWORD_ONLY])


def extract(net: Any) -> Weights:
    """The weights of a network of any framework, byte for byte: the inverse of ``build``.

    ``net`` is a module of convgru.torch, convgru.flax or convgru.mindspore, a bare cell included, or (spec, params) for
    JAX. Raises TypeError for anything else, WeightsError if a number in it is not finite.

    >>> convgru.extract(net).spec.layers[0].hidden_channels  # doctest: +SKIP
    8
    """
    for name, package in registry.ROOMS.items():
        if (
            package in sys.modules
        ):  # whoever holds a network of a framework has imported its room; the others stay asleep
            registry.get(name)
    return registry.get(registry.owner_of(net)).extract(net)


def port(net: Any, backend: str, **options: Any) -> Any:
    """The same network in another framework: ``build(extract(net), backend, **options)``.

    The arrays have one form everywhere, so that a port copies bytes and nothing else. How a call lays out its axes is no part of
    the weights: the new network has its framework's default (``batch_first=False``, Flax ``time_major=False``) unless ``options`` say
    otherwise. For JAX ``net`` and the result are (spec, params).

    >>> flax_net = convgru.port(torch_net, "flax")  # doctest: +SKIP
    """
    return build(extract(net), backend, **options)
