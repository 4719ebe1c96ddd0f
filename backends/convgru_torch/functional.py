"""The networks as a pure function of canonical tensors; the modules, functional_call and vmap all run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from convgru.spec import NetworkSpec
from convgru_torch.arguments import Admission, Arrays, from_time_first
from convgru_torch.loop import Call, Parts, network, prepare
from convgru_torch.masks import Masks

State = tuple[Any, ...]
"""One entry for each layer and direction: h (B, H, *S), or (h, c)."""


def run(
    spec: NetworkSpec,
    arrays: Arrays,
    x: Tensor,
    state: State | None = None,
    *,
    lengths: Any = None,
    context: Sequence[Tensor] | None = None,
    masks: Mapping[str, Tensor] | None = None,
    return_all_layers: bool = False,
    last_only: bool = False,
    training: bool = False,
    layout: str = "TBCS",
    owner: str = "",
) -> tuple[Any, State]:
    """Run a network on a sequence: the equations of ``convgru.equations``, layer by layer.

    Args:
        spec: what the network is (``convgru.spec.network``).
        arrays: its parameters, by canonical name (``layers.0.fwd.weight_ih`` …), of the shapes ``parameter_shapes(spec)``.
        x: (T, B, C, *S); or as ``layout`` says: ``BTCS``, or ``BCS`` for a single frame.
        state: one entry for each layer and direction, h or (h, c), each (B, H, *S); None means zeros.
        lengths, context, masks, return_all_layers, last_only: as in the call of ``convgru.torch.ConvGRU``.
        training: whether dropout and zoneout draw masks where none are given.
        layout: the axes of ``x`` and of the output.
        owner: how errors call the network; its title unless given.

    Returns:
        The last layer's output in the layout of ``x``, and the final state. Under autocast convolutions run in
        autocast's dtype and the state keeps that of the parameters.

    Raises:
        ValueError: for a shape that is not what ``spec`` demands.
        TypeError: for what is no tensor, or not of the parameters' dtype; for a single frame and a bidirectional network.

    Source: Ballas et al. 2015 (arXiv:1511.06432), Shi et al. 2015 (arXiv:1506.04214).

    Example:
        >>> from convgru.spec import network
        >>> net = convgru.torch.ConvGRU(3, 8)
        >>> y, state = run(network("gru", 3, 8), dict(net.named_parameters()), torch.zeros(5, 2, 3, 16, 16))
    """
    owner = owner or spec.title
    if layout == "BCS" and spec.bidirectional is not None:
        raise TypeError(
            f"{owner} expected a whole sequence: it is bidirectional, and its second direction starts at the end"
        )
    call = Admission(owner, spec, arrays, x, layout)
    parts = call.state(state)
    valid = call.valid(lengths)
    extras = Call(Masks(spec, call.masks(masks), training), valid, call.context(context, valid))
    layers = prepare(spec, arrays, "", call.size, parts)
    outputs, final = network(spec, layers, call.x, parts, extras, every=return_all_layers, last=last_only)
    found = [y if last_only else from_time_first(y, layout) for y in outputs]
    return tuple(found) if return_all_layers else found[-1], state_of(final)


def state_of(parts: list[Parts]) -> State:
    """The state as users see it: h itself where it is alone."""
    return tuple(entry[0] if len(entry) == 1 else entry for entry in parts)
