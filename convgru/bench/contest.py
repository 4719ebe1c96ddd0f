"""A contest: one workload with one cell in one framework, its numbers, and who takes part.

The room of each framework has a module ``bench`` with a function ``enter(contest)``, which enters
convgru's own network and its rivals. A contestant is a pair of functions without arguments that
return when the result is there.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np

from convgru.bench.workloads import Workload
from convgru.importers import adopt, export
from convgru.initialization import init
from convgru.port import build
from convgru.spec import NetworkSpec
from convgru.spec.shapes import layer_prefix, state_leaves, state_shapes
from convgru.weights import Weights

CONVGRU = "convgru"
"""The network as its constructor makes it."""
PLAIN = "plain loop"
"""One convolution and the gates for each layer and frame, as the older systems have it."""
FLOOR = "floor"
"""The convolutions alone."""
RIVALS = (PLAIN, FLOOR, "keras", "linen", "compiled plain loop", "float64 reference")
"""Everyone beside convgru's own; no framework has all of them."""
KERAS_ORDER = ("weight_ih", "weight_hh", "bias")
Arrays = Mapping[str, np.ndarray]


def channels_last(array: np.ndarray) -> np.ndarray:
    """Turn (T, B, C, *S) into (B, T, *S, C)."""
    return np.ascontiguousarray(np.moveaxis(array.swapaxes(0, 1), 2, -1))


def channels_first(array: np.ndarray) -> np.ndarray:
    """Turn (B, T, *S, C) into (T, B, C, *S)."""
    return np.moveaxis(array.swapaxes(0, 1), -1, 2)


@dataclass(frozen=True)
class Entry:
    """A contestant.

    Attributes:
        forward: computes the outputs of all frames.
        training: computes the outputs and the gradients of all parameters, from the cotangent.
        arrays: from what ``forward`` and ``training`` returned (None if it was not run), the arrays
            to compare: ``output`` (T, B, H, *S), and gradients by canonical name. None for who
            computes something else.
        saved_bytes: what the backward pass keeps of the forward pass, parameters and input aside.
        peak_bytes: what a measure, ``forward`` or ``training``, needs at most, where the framework
            knows; else it is measured in a process of its own.
    """

    forward: Callable[[], Any]
    training: Callable[[], Any] | None = None
    arrays: Callable[[Any, Any], Arrays] | None = None
    saved_bytes: Callable[[], int] | None = None
    peak_bytes: Callable[[str], int] | None = None


PRECISIONS = {"float32": 1e-3, "tf32": 2e-2, "bfloat16": 0.25}
"""To the largest difference of two contestants' numbers, relative to the array's largest.

Rounding stays below it; whether a network is right is what ``convgru parity`` judges.
"""


@dataclass
class Contest:
    """The numbers of one workload, and the contestants that a room enters.

    Attributes:
        backend: name of the framework, as the registry has it.
        workload: sizes.
        cell: ``gru`` or ``lstm``.
        variants: options for convgru's own network beside the defaults, by the name of the
            contestant.
        only: names of those that may enter; None for all.
        without: names of those that may not.
        compiled: whether the plain loop also enters compiled where that takes minutes.
        device: ``cpu``, or where a framework computes otherwise.
        precision: ``float32``, ``tf32`` or ``bfloat16``; the numbers here are of float32.
        versions: of what rivals are from, added by the room.
    """

    backend: str
    workload: Workload
    cell: str
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    only: frozenset[str] | None = None
    without: frozenset[str] = frozenset()
    compiled: bool = False
    device: str = "cpu"
    precision: str = "float32"
    entries: dict[str, Entry] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        work, self.spec = self.workload, self.workload.spec(self.cell)
        self.weights = init(self.spec, seed=0, dtype="float32")
        rng = np.random.default_rng(0)
        self.x = rng.standard_normal((work.time, work.batch, work.in_channels, *work.size), np.float32)
        shape = (work.time, work.batch, work.hidden[-1], *work.size)
        self.cotangent = rng.standard_normal(shape, np.float32)
        self.state: tuple[Any, ...] | None = None
        if work.state:
            shapes = state_shapes(self.spec, work.batch, work.size)
            drawn = [
                np.tanh(rng.standard_normal(shape)).astype(np.float32) for _, shape in state_leaves(self.spec, shapes)
            ]
            self.state = tuple(drawn) if self.cell != "lstm" else tuple(zip(drawn[::2], drawn[1::2], strict=True))

    # Rooms do not import the core's tools: what they need of this module is here.
    entry: ClassVar[type[Entry]] = Entry
    channels_last = staticmethod(channels_last)
    channels_first = staticmethod(channels_first)

    def wants(self, name: str) -> bool:
        """Whether a contestant is to enter; ask before making it."""
        return name not in self.without and (self.only is None or name in self.only)

    def enter(self, name: str, make: Callable[[], Entry]) -> None:
        """Enter a contestant if it is wanted; if making it says that it cannot be, skip it."""
        if not self.wants(name):
            return
        try:
            self.entries[name] = make()
        except (ImportError, TypeError, ValueError) as reason:  # UnsupportedError and WeightsError among them
            self.skipped[name] = str(reason)

    def keras_layers(self) -> list[Any]:
        """Build Keras' own layers on the framework of this contest.

        Raises ValueError where Keras has none, ImportError where there is no Keras.
        """
        if self.cell != "lstm" or self.workload.streaming:
            raise ValueError("Keras has ConvLSTM1D, 2D and 3D over sequences, no ConvGRU and no single step")
        if find_spec("keras") is None:
            raise ImportError("Keras is not installed: pip install keras")
        os.environ["KERAS_BACKEND"] = self.backend
        keras = importlib.import_module("keras")
        self.versions["keras"] = keras.__version__
        kind = getattr(keras.layers, f"ConvLSTM{self.spec.ndim}D")
        options = {"padding": "same", "return_sequences": True, "data_format": "channels_last"}
        layers = [kind(cell.hidden_channels, cell.kernel_size, **options) for cell in self.spec.layers]
        shape: tuple[int, ...] = channels_last(self.x).shape
        for layer in layers:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)
        return layers

    def skip(self, name: str, reason: str) -> None:
        """Say why a contestant does not take part."""
        if self.wants(name):
            self.skipped[name] = reason

    @property
    def ours(self) -> dict[str, Mapping[str, Any]]:
        """Options of convgru's own contestants by name: the defaults, and each variant."""
        return {CONVGRU: {}, **self.variants}

    def build(self, **options: Any) -> Any:
        """Build convgru's network, as ``convgru.build`` does."""
        return build(self.weights, self.backend, **options)

    def joined(self) -> list[dict[str, np.ndarray]]:
        """Return the weights of each layer as the plain loop has them: one kernel for [x, h].

        ``gates`` (rows, C + H, *k) and ``gates_bias`` hold all gates of an LSTM and r, z of a GRU,
        whose n is ``candidate`` and ``candidate_bias``, for [x, r∘h].
        """
        layers = []
        for index, cell in enumerate(self.spec.layers):
            prefix = layer_prefix(index)
            names = ("weight_ih", "weight_hh", "bias")
            w_ih, w_hh, bias = (self.weights.arrays[prefix + name] for name in names)
            whole, cut = np.concatenate([w_ih, w_hh], axis=1), 2 * cell.hidden_channels
            if self.cell == "lstm":
                layers.append({"gates": whole, "gates_bias": bias})
            else:
                layers.append({"gates": whole[:cut], "gates_bias": bias[:cut]})
                layers[-1] |= {"candidate": whole[cut:], "candidate_bias": bias[cut:]}
        return layers

    def separated(self, layers: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Turn gradients of ``joined`` weights into gradients by canonical name."""
        arrays: dict[str, np.ndarray] = {}
        for index, (cell, layer) in enumerate(zip(self.spec.layers, layers, strict=True)):
            kinds = ("gates", "candidate") if "candidate" in layer else ("gates",)
            whole, bias = (np.concatenate([layer[kind + end] for kind in kinds]) for end in ("", "_bias"))
            cut, prefix = cell.in_channels, layer_prefix(index)
            arrays |= {f"{prefix}weight_ih": whole[:, :cut], f"{prefix}weight_hh": whole[:, cut:]}
            arrays[f"{prefix}bias"] = bias
        return arrays

    def foreign(self, layout: str) -> list[dict[str, np.ndarray]]:
        """Return each layer's arrays as another system has them. Raises WeightsError."""
        return [export(self._layer(index), layout) for index in range(len(self.spec.layers))]

    def canonical(self, layout: str, layers: list[Arrays]) -> dict[str, np.ndarray]:
        """Turn gradients by another system's names into those of kernels by canonical name.

        Biases are left out: some systems add a constant to them.
        """
        arrays: dict[str, np.ndarray] = {}
        for index, (cell, layer) in enumerate(zip(self.spec.layers, layers, strict=True)):
            gradients = adopt(layer, layout, spec=NetworkSpec((cell,))).arrays
            for name in ("weight_ih", "weight_hh"):
                arrays[layer_prefix(index) + name] = gradients[layer_prefix(0) + name]
        return arrays

    def keras_weights(self, index: int) -> list[np.ndarray]:
        """Return kernel, recurrent kernel and bias of a layer as Keras has them."""
        arrays = [self.weights.arrays[layer_prefix(index) + name] for name in KERAS_ORDER]
        return [np.moveaxis(a, (0, 1), (-1, -2)) if a.ndim > 1 else a for a in arrays]

    def from_keras(self, gradients: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Name the gradients of ``keras_weights`` of all layers as the canonical arrays."""
        names = [layer_prefix(index) + name for index in range(len(self.spec.layers)) for name in KERAS_ORDER]
        turned = [np.moveaxis(a, (-1, -2), (0, 1)) if a.ndim > 1 else a for a in gradients]
        return dict(zip(names, turned, strict=True))

    def _layer(self, index: int) -> Weights:
        prefix = layer_prefix(index)
        arrays = self.weights.arrays.items()
        inside = {layer_prefix(0) + n.removeprefix(prefix): array for n, array in arrays if n.startswith(prefix)}
        return Weights(NetworkSpec((self.spec.layers[index],)), inside)
