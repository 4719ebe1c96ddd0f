"""Find convgru's own networks among arrays that come without a spec.

Their names tell where they are; ``convgru.importers.specless`` derives what they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from convgru.errors import WeightsError
from convgru.importers import specless
from convgru.spec import ForecasterSpec, NetworkSpec, Spec
from convgru.spec.shapes import parameter_shapes
from convgru.weights import Weights

Config = Spec | Mapping[str, Any]
"""Contents of a ``config.json`` beside the file: a spec, or constructor arguments."""


@dataclass(frozen=True)
class OwnMatch:
    """A network in convgru's own layout: prefix, spec, arrays, and the assumed arguments."""

    prefix: str
    spec: Spec
    claims: tuple[str, ...]
    assumed: Mapping[str, Any] = field(default_factory=dict)

    def weights(self, arrays: Mapping[str, np.ndarray]) -> Weights:
        """Return its weights. Raises WeightsError if names or shapes are not those of the spec."""
        return Weights(self.spec, {name[len(self.prefix) :]: arrays[name] for name in self.claims})


def find(
    shapes: specless.Shapes,
    layout: str | None,
    prefix: str | None,
    hints: Mapping[str, Any],
    *,
    spec: Spec | None = None,
    config: Config | None = None,
) -> list[OwnMatch]:
    """Return the networks whose arrays have convgru's names, below ``prefix`` if it is given.

    The list is empty if the arrays are another layout's. Raises WeightsError if nothing gives their
    spec: neither ``spec`` nor ``config`` nor ``layout="convgru"``.
    """
    if spec is not None:
        start = _start_of(shapes, spec, prefix)
        return [OwnMatch(start, spec, tuple(specless.of_network(sorted(shapes), start)))]
    if layout not in (None, specless.LAYOUT):
        return []
    starts = specless.prefixes(name for name in shapes if name.startswith((prefix or "").rstrip(".")))
    starts = [at for at in starts if not prefix or at == prefix or at.startswith(prefix.rstrip(".") + ".")]
    if starts and layout is None and config is None:
        raise WeightsError(specless.ADVICE)
    if not starts and layout is not None:
        below = f" below {prefix!r}" if prefix else ""
        shown = ", ".join(repr(name[:80]) for name in list(shapes)[:3])
        raise WeightsError(f"layout={layout!r} expected arrays called 'layers.0.fwd.weight_ih' …{below}, got {shown} …")
    names, only_one = sorted(shapes), config if len(starts) == 1 else None
    return [_derived(shapes, names, start, hints, only_one) for start in starts]


def only(matches: Sequence[OwnMatch]) -> OwnMatch:
    """Return the only match. Raises WeightsError, naming the prefixes, if there are several."""
    if len(matches) > 1:
        shown = ", ".join(repr(match.prefix) for match in matches)
        raise WeightsError(f"several networks, expected one: choose by prefix= of {shown}")
    return matches[0]


def _derived(
    shapes: specless.Shapes, sorted_names: Sequence[str], start: str, hints: Mapping[str, Any], config: Config | None
) -> OwnMatch:
    """The network at one prefix, its spec from the config, or from shapes, hints and defaults."""
    names = tuple(specless.of_network(sorted_names, start))
    if isinstance(config, (NetworkSpec, ForecasterSpec)):
        if hints:
            raise WeightsError(f"the config.json beside the file holds the spec, got hints {', '.join(sorted(hints))}")
        return OwnMatch(start, config, names)
    inner = {name[len(start) :]: shapes[name] for name in names}
    # The arguments in a config are those of the outermost module: of a network inside it they say
    # nothing.
    arguments = {name: value for name, value in config.items() if name not in hints} if config and not start else {}
    known = specless.hints_in(arguments, inner) if arguments else {}
    spec, assumed = specless.spec_of(inner, {**known, **hints})
    return OwnMatch(start, spec, names, assumed)


def _start_of(names: Iterable[str], spec: Spec, prefix: str | None) -> str:
    """The prefix below which most arrays of a known spec are. Raises WeightsError unless one is."""
    names, expected = set(names), list(parameter_shapes(spec))
    ending = [name for name in names if name.endswith(tuple(expected))]
    starts = {name.removesuffix(each) for name in ending for each in expected if name.endswith(each)}
    starts = {at for at in starts if not at or at.endswith(".")}
    if prefix:
        starts = {at for at in starts if at == prefix or at.startswith(prefix.rstrip(".") + ".")}
    held = {at: sum(at + name in names for name in expected) for at in sorted(starts)}
    best = [at for at, count in held.items() if count == max(held.values())]
    if not best:
        below = f" below {prefix!r}" if prefix else ""
        raise WeightsError(f"{spec.title}: expected arrays called {expected[0]}, {expected[1]} …{below}, got none")
    if len(best) > 1:
        shown = ", ".join(map(repr, best))
        raise WeightsError(f"several networks have the names of this spec, choose one by prefix= of {shown}")
    return best[0]
