"""Execution: how a network computes, which changes its speed and memory but not its results."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, TypedDict

import torch

from convgru.spec.fields import flag, one_of, positive

Impl = Literal["auto", "readable", "fast"]
IMPLS: tuple[Impl, ...] = ("auto", "readable", "fast")
Memory = Literal["full", "lean"]
MEMORIES: tuple[Memory, ...] = ("full", "lean")
Algorithm = Literal["direct", "winograd"]
ALGORITHMS: tuple[Algorithm, ...] = ("direct", "winograd")

STATE_DTYPES = (None, torch.float32, torch.float64)


class ExecutionOptions(TypedDict, total=False):
    """Options of every module and pure function; see ``Execution``."""

    impl: Impl
    memory: Memory
    algorithm: Algorithm
    checkpoint_frames: int | None
    state_dtype: torch.dtype | None
    cuda_graphs: bool


@dataclass(frozen=True)
class Execution:
    """How to compute: no part of a spec, of a state dict or of a file of weights.

    Args:
        impl: the implementation of each layer: ``auto`` takes the fast one where it applies and the
            readable one elsewhere; ``readable`` is the loop over ``convgru.equations``,
            differentiated by autograd; ``fast`` insists on the fast one, and a call to which it
            does not apply raises UnsupportedError with the reason.
        memory: what the fast implementation keeps for the gradient: ``full``, states and gates;
            ``lean``, the states alone, from which it computes the gates again.
        algorithm: of the convolutions: ``direct``, those of torch; ``winograd``, on a CPU,
            Winograd's F(4x4, 3x3) where it can compute them and they are wide
            (``docs/torch.md``): faster, with more rounding.
        checkpoint_frames: run sequences in parts of so many frames and, for the gradient, each part
            again: only the states between them are kept. The results are the same; a layer's
            hooks run for each part, in both runs. None: the whole sequence at once.
        state_dtype: torch.float32 or torch.float64: keep the state in it, and compute all but the
            convolutions in it, where the parameters are of lower precision, of bfloat16 say. The
            output has the parameters' dtype. None: everything in the parameters' dtype.
        cuda_graphs: record what the fast implementation launches on CUDA, once for each shape of a
            call, forward and back, and launch it all at once in later calls, which copy arguments
            in and results out. A call that cannot be recorded raises UnsupportedError.

    Raises:
        ValueError: for a value that an option does not have, and for ``cuda_graphs`` with
            ``impl="readable"`` or ``checkpoint_frames``.
        TypeError: for ``cuda_graphs`` that is no bool.
    """

    impl: Impl = "auto"
    memory: Memory = "full"
    algorithm: Algorithm = "direct"
    checkpoint_frames: int | None = None
    state_dtype: torch.dtype | None = None
    cuda_graphs: bool = False

    def __post_init__(self) -> None:
        one_of("impl", self.impl, IMPLS)
        one_of("memory", self.memory, MEMORIES)
        one_of("algorithm", self.algorithm, ALGORITHMS)
        if self.checkpoint_frames is not None:
            positive("checkpoint_frames", self.checkpoint_frames)
        if self.state_dtype not in STATE_DTYPES:
            raise ValueError(f"state_dtype expected torch.float32, torch.float64 or None, got {self.state_dtype!r}")
        flag("cuda_graphs", self.cuda_graphs)
        if self.cuda_graphs and self.impl == "readable":
            raise ValueError("cuda_graphs=True expected impl='auto' or 'fast', which it records, got 'readable'")
        if self.cuda_graphs and self.checkpoint_frames is not None:
            raise ValueError(
                f"cuda_graphs=True expected checkpoint_frames=None, got {self.checkpoint_frames}: "
                "for the gradient a recording would run each part not once again but twice"
            )

    def changed(self) -> dict[str, Any]:
        """The options that are not the defaults."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if getattr(self, field.name) != field.default
        }


AUTOMATIC = Execution()
"""The defaults."""
