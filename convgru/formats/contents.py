"""What a file contains: arrays by name, declared networks, constructor arguments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from convgru.errors import WeightsError
from convgru.formats.names import below, is_below, outermost
from convgru.formats.parametrized import advice, unknown, with_weights
from convgru.spec import Spec
from convgru.spec.shapes import layer_prefix
from convgru.weights import Weights

WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Parts of names from DataParallel, torch.compile, FSDP and activation checkpointing."""
COUNTER = "n_averaged"
"""Array in which torch.optim.swa_utils.AveragedModel counts the averaged states."""
_WRAPPER = re.compile(rf"(?:(?<=\.)|^)(?:{'|'.join(WRAPPERS)})\.")


@dataclass(frozen=True)
class Contents:
    """The arrays of a file by flat name, and the networks and arguments that it declares.

    Attributes:
        arrays: Flat name -> array.
        specs: Prefix of names -> spec, for networks that convgru wrote.
        configs: Prefix of names -> constructor arguments of another system's layer (Keras keeps
            them beside the weights).
        aliases: Prefix in the file itself -> prefix here, for Keras: the user's name of the layer.
        config: The spec, or the constructor arguments, in a ``config.json`` beside the file.
        verified: Whether the file holds checksums of the arrays, which were found to be right.
    """

    arrays: Mapping[str, np.ndarray]
    specs: Mapping[str, Spec] = field(default_factory=dict)
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    config: Spec | Mapping[str, Any] | None = None
    verified: bool = False

    def unwrapped(self) -> Contents:
        """Undo what training tools do to a state dict.

        Strips the wrapper prefixes (DataParallel, AveragedModel, torch.compile, FSDP) unless two
        names would collide, and drops AveragedModel's counter.
        """
        counters = self._counters()
        arrays = {name: array for name, array in self.arrays.items() if name not in counters}
        names = {name: unwrapped(name) for name in arrays}
        if len(set(names.values())) != len(names):
            return replace(self, arrays=arrays)
        return replace(
            self,
            arrays={names[name]: array for name, array in arrays.items()},
            specs={unwrapped(prefix): spec for prefix, spec in self.specs.items()},
        )

    @cached_property
    def _names(self) -> list[str]:
        """The names of the arrays, sorted."""
        return sorted(self.arrays)

    def _counters(self) -> set[str]:
        """The counters that AveragedModel keeps beside its ``module``."""
        counters = [name for name in self.arrays if name.rpartition(".")[2] == COUNTER]
        return {name for name in counters if any(below(self._names, name.removesuffix(COUNTER) + "module."))}

    def resolved(self, prefix: str | None) -> str | None:
        """Return a prefix as the arrays have it here: no wrappers, the user's names of layers."""
        if not prefix:
            return prefix
        prefix = unwrapped(prefix)
        owner, _, last = prefix.rpartition(".")
        if last in WRAPPERS:  # without the dot that names have behind it
            return owner
        whole = prefix.rstrip("/") + "/"
        for stored, name in sorted(self.aliases.items(), key=lambda pair: -len(pair[0])):
            if whole.startswith(stored):
                return name + whole[len(stored) :]
        inside = {name for stored, name in self.aliases.items() if stored.startswith(whole)}
        return inside.pop() if len(inside) == 1 else prefix

    def stored_at(self, prefix: str) -> str:
        """Return the prefix that a network's arrays have in the file itself."""
        return next((stored for stored, name in self.aliases.items() if name == prefix), prefix)

    def network(self, prefix: str | None) -> Weights:
        """Return the one network that the file declares, or the one below ``prefix``.

        Raises WeightsError if there is none, or if there are several.
        """
        matching = self._outermost(prefix)
        if len(matching) != 1:
            shown = ", ".join(repr(p) for p in sorted(matching or self._outermost(None)))
            raise WeightsError(
                f"several networks, expected one: choose by prefix= of {shown}"
                if matching
                else f"no network of convgru whose names begin with {prefix!r}, only {shown}"
            )
        return self._weights(matching[0])

    def networks(self, prefix: str | None = None) -> dict[str, Weights]:
        """Return by prefix the networks that the file declares, or those below ``prefix``.

        A network inside another one, such as a forecaster's encoder, is not listed.
        """
        return {start: self._weights(start) for start in sorted(self._outermost(prefix))}

    def leads_elsewhere(self, prefix: str | None) -> bool:
        """Whether the arrays below a prefix belong to no network that the file declares."""
        if not prefix:
            return False
        declared, starts = outermost(self.specs), tuple(prefix.rstrip("./") + end for end in "./")
        return any(name.startswith(starts) and not is_below(name, declared) for name in self.arrays)

    def _outermost(self, prefix: str | None) -> list[str]:
        return [p for p in outermost(self.specs) if not prefix or p == prefix or p.startswith(prefix.rstrip(".") + ".")]

    def _weights(self, prefix: str) -> Weights:
        spec = self.specs[prefix]
        arrays = {name[len(prefix) :]: self.arrays[name] for name in below(self._names, prefix)}
        arrays = with_weights(arrays)
        if parts := unknown(arrays):
            raise WeightsError(advice(parts))
        short = "updates.0.weight_ih" if spec.recurrent.layers[0].updates else "weight_ih"
        if short in arrays:  # a bare cell: the network of that layer alone
            arrays = {layer_prefix(0) + name: array for name, array in arrays.items()}
        return Weights(spec, arrays)


def unwrapped(name: str) -> str:
    """Return a name, or a prefix of names, without the parts that wrappers add."""
    return _WRAPPER.sub("", name)
