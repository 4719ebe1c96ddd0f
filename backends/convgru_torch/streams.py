"""The two directions of a layer on two CUDA streams, where that is switched on.

They read the same sequence and know nothing of each other: the backward one runs beside the forward
one, on a stream of its own, and what comes after waits for both. Gradients take the streams of
their forward passes, which autograd sees to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

TWO = False
"""Whether two directions take two streams: not before a GPU has shown that it pays."""
CUDA: Any = torch.cuda
LayerCall = Callable[..., tuple[Tensor, Any]]

_sides: dict[tuple[Any, int], Any] = {}


def beside(layers: Sequence[Sequence[LayerCall]], x: Tensor) -> Sequence[Sequence[LayerCall]]:
    """The layers, each called once, forward before backward, so that two directions share a GPU.

    They are the same where that is switched off, or does not apply to a call with this input.
    """
    if not TWO or not applies(x):
        return layers
    return [directions if len(directions) == 1 else Fork(*directions).calls for directions in layers]


def applies(x: Tensor) -> bool:
    """Whether a call with this input launches kernels on a stream, as it runs."""
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return False
    return type(x) is Tensor and x.device.type == "cuda" and not torch._C._are_functorch_transforms_active()


class Fork:
    """The two directions of a layer: ``calls``, to be called in this order.

    The first must not write, in a hook for example, what the second reads.
    """

    def __init__(self, first: LayerCall, second: LayerCall) -> None:
        self._layers = first, second
        self._ready: Any = None
        self.calls = (self._call_first, self._call_second)

    def _call_first(self, x: Tensor, *args: Any, **options: Any) -> tuple[Tensor, Any]:
        self._ready = CUDA.current_stream(x.device).record_event()
        return self._layers[0](x, *args, **options)

    def _call_second(self, x: Tensor, *args: Any, **options: Any) -> tuple[Tensor, Any]:
        main = CUDA.current_stream(x.device)
        side = _side(main)
        side.wait_event(self._ready)
        try:
            with CUDA.stream(side):
                results = self._layers[1](x, *args, **options)
        finally:
            main.wait_stream(side)
        # Their memory is not given to others before the stream that did not make them is done.
        keep((x, args, options), side)
        keep(results, main)
        return results


def _side(main: Any) -> Any:
    """The stream beside another: always the same, for CUDA graphs are recorded for a stream."""
    key = main.device, main.cuda_stream
    if key not in _sides:
        _sides[key] = CUDA.Stream(main.device)
    return _sides[key]


def keep(value: Any, stream: Any) -> None:
    """Say that a stream uses the tensors in a value."""
    for tensor in _tensors(value):
        tensor.record_stream(stream)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _tensors(each)
