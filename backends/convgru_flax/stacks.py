"""The networks: layers of cells over whole sequences, or one frame at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Self, Unpack

import jax
import jax.numpy as jnp
from flax import nnx

from convgru.spec import Ints, NetworkSpec, network
from convgru.spec.shapes import layer_prefix
from convgru_flax import arguments
from convgru_flax.arguments import Arrays
from convgru_flax.cells import ConvCell, filled
from convgru_flax.options import NetworkOptions, checked
from convgru_jax import compiled, masks

SHARED = ("bidirectional", "merge", "dropout", "recurrent_dropout", "zoneout", "output_size")
"""What a network says of all its layers."""


class Call(NamedTuple):
    """What a module does with every call, unless the call says otherwise."""

    time_major: bool
    dtype: Any
    method: str
    deterministic: bool


class Layer(nnx.Module):
    """One layer; its cells stand at ``fwd`` and, if it runs both ways, ``bwd``, so that paths are the canonical names."""

    fwd: ConvCell
    bwd: ConvCell

    def __init__(self, cells: Mapping[str, ConvCell]) -> None:
        for direction, cell in cells.items():
            setattr(self, direction, cell)


class ConvStack(nnx.Module):
    """What the three networks share: layers at ``layers.{l}.fwd`` and ``.bwd``, and the call over a sequence."""

    kind: ClassVar[str] = "gru"

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        arguments.name_constructor(cls)

    def __init__(
        self,
        in_features: int,
        hidden_features: int | list[int],
        kernel_size: Ints | list[Ints] = 3,
        num_layers: int | None = None,
        *,
        time_major: bool = False,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        method: str = "fast",
        deterministic: bool = False,
        rngs: nnx.Rngs,
        **options: Unpack[NetworkOptions],
    ) -> None:
        own = checked(type(self).__name__, options, NetworkOptions)
        spec = network(self.kind, in_features, hidden_features, kernel_size, num_layers, **own)
        arrays = arguments.initial(spec.title, spec, rngs, param_dtype)
        call = Call(time_major, dtype, method, deterministic)
        self._fill(spec, arrays, prefix="", call=call, rngs=rngs)

    def _fill(self, spec: NetworkSpec, arrays: Arrays, *, prefix: str, call: Call, rngs: Any) -> None:
        for name in SHARED:
            setattr(self, name, getattr(spec, name))
        arguments.check_flags(spec.title, time_major=call.time_major, deterministic=call.deterministic)
        self.time_major = call.time_major
        self.dtype = None if call.dtype is None else arguments.usable(spec.title, call.dtype)
        self.method = arguments.check_method(spec.title, call.method)
        self.deterministic = call.deterministic
        self.rngs = arguments.stream(spec.title, rngs if masks.random(spec) else None)
        cell = {"dtype": call.dtype, "method": call.method}
        self.layers = nnx.List(
            Layer({d: filled(layer, arrays, prefix=prefix + layer_prefix(index, d), **cell) for d in spec.directions})
            for index, layer in enumerate(spec.layers)
        )

    @classmethod
    def from_spec(
        cls,
        spec: NetworkSpec,
        *,
        arrays: Mapping[str, Any] | None = None,
        time_major: bool = False,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        method: str = "fast",
        deterministic: bool | None = None,
        rngs: nnx.Rngs | None = None,
    ) -> Self:
        """The network that ``spec`` describes, with ``arrays`` (by canonical name) or initial ones from ``rngs``.

        ``deterministic`` None means evaluation if there are no ``rngs``, else training.
        """
        owner = f"{cls.__name__}.from_spec"
        arguments.check_kind(owner, cls.kind, spec)
        drawn = arguments.given_or_initial(owner, spec, arrays, rngs, param_dtype)
        call = Call(time_major, dtype, method, rngs is None if deterministic is None else deterministic)
        return arguments.as_class(cls, Filled(spec, drawn, prefix="", call=call, rngs=rngs))

    @property
    def spec(self) -> NetworkSpec:
        """The network that this module is."""
        return NetworkSpec(
            tuple(layer.fwd.cell_spec for layer in self.layers), **{name: getattr(self, name) for name in SHARED}
        )

    @property
    def in_features(self) -> int:
        """Channels of the input."""
        return self.spec.in_channels

    @property
    def out_features(self) -> int:
        """Channels of the output: the last layer's hidden_features, of both directions if they are concatenated."""
        return self.spec.out_channels

    def arrays(self) -> dict[str, jax.Array]:
        """The parameters' arrays by their canonical names, as ``convgru.jax`` takes them."""
        return {
            layer_prefix(index, direction) + name: array
            for index, layer in enumerate(self.layers)
            for direction in self.spec.directions
            for name, array in getattr(layer, direction).arrays().items()
        }

    def set_view(self, deterministic: bool | None = None) -> None:
        """What nnx.view arguments.

        Args:
            deterministic: if not None, evaluation or training.
        """
        if deterministic is not None:
            self.deterministic = deterministic

    def _key(self, given: Any, deterministic: bool | None, rngs: Any) -> jax.Array | None:
        """In training, a key to draw masks from, if the network has any and none are given."""
        still = self.deterministic if deterministic is None else deterministic
        if still or given is not None or not masks.random(self.spec):
            return None
        return arguments.key_of(self.spec.title, self.rngs if rngs is None else rngs)

    def __call__(
        self,
        x: Any,
        initial_carry: Any = None,
        *,
        seq_lengths: Any = None,
        context: Any = None,
        masks: Mapping[str, Any] | None = None,
        return_all_layers: bool = False,
        last_only: bool = False,
        deterministic: bool | None = None,
        rngs: Any = None,
    ) -> tuple[Any, tuple[Any, ...]]:
        """Run over a sequence.

        Args:
            x: frames (B, T, *S, C), or (T, B, *S, C) if ``time_major``.
            initial_carry: None for zeros, or a tuple with one entry for each layer and direction, forward first:
                h (B, *S, H), or (h, c) for an LSTM.
            seq_lengths: (B,), how many frames of each sample are valid. Past the end the output is zero, the carry returned
                is the one after the last valid frame, and nothing that stands in the padding matters, NaN included.
            context: for each layer and direction (B, *S, G·H), or the same with time as x has it, added to the
                pre-activations of all gates.
            masks: of dropout and zoneout, time first, as ``convgru.jax.draw_masks`` makes them.
            return_all_layers: a tuple of every layer's output instead of the top one's.
            last_only: the output of each sample's last valid frame alone, (B, *S, H); the top layer's others are not kept.
            deterministic: evaluation if True, training if False; None means the module's own attribute, which ``train()``
                and ``eval()`` set.
            rngs: an nnx.Rngs (its stream ``dropout``), a stream or a key to draw masks from, instead of the module's own.

        Returns:
            The top layer's h at every frame, in the layout of x; and the carry after the last frame.

        Raises:
            ValueError: a shape is not what the network expects, or there are no rngs to draw dropout from.
            TypeError: a dtype is not that of the parameters, while the module's own ``dtype`` is None.
            UnsupportedError: float64 while JAX's 64-bit mode is off.
        """
        layout = "TBSC" if self.time_major else "BTSC"
        spec = self.spec
        arrays, x, carry = arguments.enter(
            spec.title, spec, self.arrays(), x, initial_carry, layout=layout, dtype=self.dtype
        )
        result: tuple[Any, tuple[Any, ...]] = compiled.run(
            spec,
            arrays,
            x,
            carry,
            lengths=seq_lengths,
            context=arguments.cast(context, self.dtype),
            masks=arguments.cast(masks, self.dtype),
            key=self._key(masks, deterministic, rngs),
            return_all_layers=return_all_layers,
            last_only=last_only,
            method=self.method,
            time=0 if self.time_major else 1,
        )
        return result

    def step(
        self,
        x: Any,
        carry: Any = None,
        *,
        context: Any = None,
        masks: Mapping[str, Any] | None = None,
        deterministic: bool | None = None,
        rngs: Any = None,
    ) -> tuple[jax.Array, tuple[Any, ...]]:
        """One frame (B, *S, C): what the sequence call gives for it, (B, *S, H), and the carry after it.

        Arguments and errors as there; in training the masks of each step are its own. A network with a backward direction
        has no steps: ValueError.
        """
        spec = self.spec
        arrays, x, carry = arguments.enter(spec.title, spec, self.arrays(), x, carry, layout="BSC", dtype=self.dtype)
        return compiled.step(
            spec,
            arrays,
            x,
            carry,
            context=arguments.cast(context, self.dtype),
            masks=arguments.cast(masks, self.dtype),
            key=self._key(masks, deterministic, rngs),
            method=self.method,
        )

    def initialize_carry(
        self, input_shape: tuple[int, ...], rngs: Any = None, carry_init: Any = None
    ) -> tuple[Any, ...]:
        """The carry before the first frame, whose shape (B, *S, C) is ``input_shape``: zeros, or what ``carry_init`` draws."""
        spec = self.spec
        dtype = next(iter(self.arrays().values())).dtype if self.dtype is None else self.dtype
        return arguments.initial_state(spec.title, spec, input_shape, dtype, arguments.drawer(rngs, carry_init))


class Filled(ConvStack):
    """A network of any kind made from its spec and arrays."""

    def __init__(self, spec: NetworkSpec, arrays: Arrays, **options: Any) -> None:
        self._fill(spec, arrays, **options)
