"""CUDA graphs of the fast sequence function: its launches recorded once, then given all at once.

What is recorded are pure functions of tensors, forward and back, for each plan. A recording reads
and writes memory of its own: arguments are copied in, and what the caller keeps is copied out. So
nothing depends on where parameters lie, and nothing has to be forgotten when they are replaced.

Between forward and backward the recording's memory holds what the gradient needs. It is lent to
that call: another call of the same shape before its backward gets a recording of its own.

Threads share the recordings. Whoever finds one, runs it and copies its results holds ``LOCK`` from
the first to the last.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from convgru_torch.sequence_plan import on_accelerator

Tensors = tuple[Tensor | None, ...]
Function = Callable[[Tensors], Tensors]
LIMIT = 32
"""Most recordings to keep at a time, those used last."""
WARM = 3
"""Calls before a recording, in which libraries choose their algorithms and get their memory."""
LOCK = threading.RLock()
"""Held while a recording is found, made and run, and its results are lent or copied."""


class Loan:
    """A recording's memory in use: free again once nobody holds this."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording

    def tensor(self) -> Tensor:
        """An empty tensor that holds this: freeing the tensor gives the memory back."""
        held = torch.empty(0, device="cpu")
        vars(held)["loan"] = self
        return held


class Recording:
    """A function of tensors, recorded for arguments of given shapes.

    Args:
        function: takes and returns a tuple of tensors, some of which may be None.
        given: arguments like those of each call.
        capture: see ``capture``.
    """

    def __init__(
        self, function: Function, given: Tensors, capture: Callable[[Callable[[], Tensors]], tuple[Tensors, Any]]
    ) -> None:
        with torch.inference_mode(False), torch.no_grad():  # memory that may be written to in any mode
            self.given = tuple(None if a is None else torch.empty_like(a).copy_(a) for a in given)
            self.results, self.replay = capture(lambda: function(self.given))
        self.loan: weakref.ref[Loan] | None = None
        self.back: dict[Hashable, Recording] = {}
        """Recordings of functions that read this one's memory."""

    @property
    def free(self) -> bool:
        """Whether nobody needs what the last call wrote."""
        return self.loan is None or self.loan() is None

    def __call__(self, given: Tensors) -> Tensors:
        """Run; the results are overwritten by the next call."""
        pairs = [(a, b) for a, b in zip(self.given, given, strict=True) if a is not None and b is not None]
        with torch.inference_mode(False), torch.no_grad():
            if pairs:
                copy: Any = getattr(torch, "_foreach_copy_")  # noqa: B009, no stub knows it
                copy([a for a, _ in pairs], [b for _, b in pairs])
            self.replay()
        return self.results

    def lend(self) -> Loan:
        """Say that what the last call wrote is needed for as long as this object lives."""
        loan = Loan(self)
        self.loan = weakref.ref(loan)
        return loan


def capture(function: Callable[[], Tensors]) -> tuple[Tensors, Callable[[], Any]]:
    """Record a function on the current CUDA device.

    Returns its results, and what runs it into their memory again.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # Without a stream it would be recorded on one of the device that recorded first.
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        results = function()
    return results, graph.replay


def why_not(x: Tensor) -> str | None:
    """Return the reason why a call with this input cannot be recorded, or None."""
    if not on_accelerator(x):
        return f"its tensors are on {str(x.device)!r}, not on CUDA"
    if x.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        return "another CUDA graph is being recorded"
    return None


_kept: OrderedDict[Hashable, list[Recording]] = OrderedDict()


def recording(key: Hashable, function: Function, given: Tensors) -> Recording:
    """Find a free recording of this key and these shapes, or make one.

    The caller holds ``LOCK``.
    """
    key = key, _signature(given), _settings()
    found = next((each for each in _kept.get(key, ()) if each.free), None)
    if found is None:
        _shrink(LIMIT - 1)
        found = Recording(function, given, capture)
        _kept.setdefault(key, []).append(found)
    _kept.move_to_end(key)
    return found


def recording_back(owner: Recording, key: Hashable, function: Function, given: Tensors) -> Recording:
    """The same of a function that reads the owner's memory, and lives as long as it does."""
    key = key, _signature(given), _settings()
    if key not in owner.back:
        owner.back[key] = Recording(function, given, capture)
    return owner.back[key]


def forget() -> None:
    """Drop all recordings, and their memory, that no call uses."""
    with LOCK:
        _kept.clear()


def count() -> int:
    """How many recordings are kept."""
    return sum(len(found) for found in _kept.values())


def _shrink(most: int) -> None:
    """Drop recordings beyond so many, those first that were not used for longest.

    Those that are lent come last: their memory stays until it is given back.
    """
    for lent in (False, True):
        for key, each in [(key, each) for key, found in _kept.items() for each in found if lent or each.free]:
            if count() <= most:
                return
            _kept[key].remove(each)
            if not _kept[key]:
                del _kept[key]


def _signature(given: Sequence[Tensor | None]) -> Hashable:
    """What a recording depends on of its arguments."""
    return tuple(None if a is None else (a.shape, a.stride(), a.dtype, a.device) for a in given)


def _settings() -> Hashable:
    """What it depends on besides: how algorithms are chosen, and the stream."""
    backends: Any = torch.backends
    return (
        backends.cudnn.conv.fp32_precision,
        backends.cudnn.deterministic,
        backends.cudnn.benchmark,
        backends.cudnn.enabled,
        torch.are_deterministic_algorithms_enabled(),
        torch.cuda.current_stream().cuda_stream if torch.cuda.is_initialized() else None,
    )
