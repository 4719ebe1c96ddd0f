"""Base of the networks and the forecaster: options of a call, training or evaluation mode."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Generic, Self, TypeVar

import jax
from flax import nnx

from convgru.calls import Caller, flags
from convgru.spec import ForecasterSpec, NetworkSpec
from convgru_flax import arguments
from convgru_flax.masks import draw_key, is_random, own_stream
from convgru_flax.options import check_spec
from convgru_jax import arguments as jax_arguments

AnySpec = TypeVar("AnySpec", NetworkSpec, ForecasterSpec)


class SequenceModule(nnx.Module, Generic[AnySpec]):
    """A module that runs over sequences; ``spec`` alone describes its network."""

    spec: AnySpec
    _spec_type: ClassVar[Any]

    def _set_options(
        self,
        spec: AnySpec,
        rngs: Any = None,
        *,
        time_major: bool = False,
        dtype: Any = None,
        method: str = "fast",
        deterministic: bool = False,
        checkpoint_frames: int | None = None,
    ) -> None:
        """Store the spec and the options of calls.

        Parameters are drawn before, so that dropout does not change them.
        """
        title = type(self).__name__
        arguments.check_flags(title, time_major=time_major, deterministic=deterministic)
        self.spec = spec
        self.time_major = time_major
        self.dtype = None if dtype is None else arguments.supported_dtype(title, dtype)
        self.method = arguments.check_method(title, method)
        self.deterministic = deterministic
        self.checkpoint_frames = jax_arguments.checkpoint_frames(title, checkpoint_frames)
        self.rngs = own_stream(title, spec, rngs)

    @classmethod
    def from_spec(cls, spec: AnySpec, **options: Any) -> Self:
        """Make the module that a spec describes; the same as ``cls(spec, **options)``.

        Options are the arguments of the constructor that do not describe the network: ``rngs`` or
        ``arrays``, ``time_major``, ``dtype`` and so on. Raises TypeError and ValueError, as the
        constructor does.
        """
        check_spec(f"{cls.__name__}.from_spec", spec, cls._spec_type)
        return cls(spec, **options)  # type: ignore[call-arg]

    def arrays(self) -> dict[str, jax.Array]:
        """The parameters' arrays by their canonical names, as ``convgru.jax`` takes them."""
        raise NotImplementedError

    def _check_part(self, where: str, part: Any, kind: type, spec: NetworkSpec) -> None:
        """Raise ValueError unless a cell or network in this module is what its spec says."""
        expected = {"type": kind, "spec": spec, "dtype": self.dtype, "method": self.method}
        for name, wanted in expected.items():
            got = type(part) if name == "type" else getattr(part, name)
            if got != wanted:
                noun = "cell" if isinstance(part, nnx.RNNCellBase) else "network"
                raise ValueError(
                    f"{type(self).__name__} {where} expected a {noun} of {name} {wanted}, got {got}: "
                    "a network computes as its own spec and options say; make one of them with from_spec"
                )

    def set_view(self, deterministic: bool | None = None) -> None:
        """Set what ``nnx.view`` may change; ``train()`` and ``eval()`` set it too.

        Args:
            deterministic: evaluation if True, training if False, unchanged if None.
        """
        if deterministic is not None:
            self.deterministic = self._evaluates(deterministic)

    def _caller(self, layout: str) -> Caller:
        """Make the checks of a call for frames in this layout; errors name this class."""
        caller = jax_arguments.caller_of(self.spec, layout, self.method, type(self).__name__)
        return replace(caller, lengths_name="seq_lengths")

    @property
    def _layout(self) -> str:
        return "TBSC" if self.time_major else "BTSC"

    def _evaluates(self, deterministic: bool | None) -> bool:
        if deterministic is None:
            return self.deterministic
        return flags(type(self).__name__, deterministic=deterministic)[0]

    def _key(self, needed: bool, rngs: Any) -> jax.Array | None:
        """Take a key from the call's rngs, or else from the module's own, if one is ``needed``."""
        return draw_key(type(self).__name__, self.spec, self.rngs if rngs is None else rngs) if needed else None

    @property
    def _draws_masks(self) -> bool:
        return is_random(self.spec)

    def initialize_carry(
        self, input_shape: tuple[int, ...], rngs: Any = None, carry_init: Any = None
    ) -> tuple[Any, ...]:
        """Make the carry before the first frame; a forecaster's is its encoder's.

        Args:
            input_shape: the shape (B, *S, C) of one frame.
            rngs: an nnx.Rngs (its stream ``carry``) or a stream; needed only with ``carry_init``.
            carry_init: an initializer (key, shape, dtype) -> array; None means zeros.

        Returns:
            One entry for each layer and direction, forward first: h (B, *S, H), or (h, c) for an
            LSTM.
        """
        dtype = next(iter(self.arrays().values())).dtype if self.dtype is None else self.dtype
        return arguments.initial_carry(type(self).__name__, self.spec, input_shape, dtype, rngs, carry_init)
