"""The networks as pure functions of canonical tensors, and the checked call modules share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from convgru.calls import flags
from convgru.spec import NetworkSpec
from convgru.spec.options import refuse_unknown
from convgru_torch.arguments import Arrays, CheckedCall, parameters_precision
from convgru_torch.execution import Execution, ExecutionOptions
from convgru_torch.loop import LayerCall, functional_layers, run_network
from convgru_torch.masks import draw
from convgru_torch.parameters import Precision

if TYPE_CHECKING:
    from typing import Unpack  # new in 3.11; the room itself also runs on 3.10

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
    **execution: Unpack[ExecutionOptions],
) -> tuple[Any, State]:
    """Run a network on a sequence: the equations of ``convgru.equations``, layer by layer.

    Args:
        spec: what the network is (``convgru.spec.network``).
        arrays: its parameters, by canonical name (``layers.0.fwd.weight_ih`` …), of the shapes
            ``parameter_shapes(spec)``.
        x: (T, B, C, *S); or as ``layout`` says: ``BTCS``, or ``BCS`` for a single frame. Without
            its batch axis it is unbatched, and so are state, context and results.
        state: one entry for each layer and direction, h or (h, c), each (B, H, *S); None means
            zeros.
        lengths, context, masks, return_all_layers, last_only: as in the call of
            ``convgru.torch.ConvGRU``.
        training: whether dropout and zoneout draw masks where none are given.
        layout: the axes of ``x`` and of the output.
        owner: how errors call the network; its title unless given.
        execution: how to compute, ``impl="readable"`` for example (``Execution``).

    Returns:
        The last layer's output in the layout of ``x``, and the final state. Under autocast
        convolutions run in autocast's dtype and the state keeps that of the parameters.

    Raises:
        ValueError: for a shape that is not what ``spec`` demands.
        TypeError: for another spec than a network's; for what is no tensor, or not of the
            parameters' dtype; for a single frame and a bidirectional network.
        UnsupportedError: for an ``impl`` that was insisted on and does not apply.

    Source: Ballas et al. 2015 (arXiv:1511.06432), Shi et al. 2015 (arXiv:1506.04214).

    Example:
        >>> from convgru.spec import network
        >>> net = convgru.torch.ConvGRU(3, 8)
        >>> x = torch.zeros(5, 2, 3, 16, 16)
        >>> y, state = run(network("gru", 3, 8), dict(net.named_parameters()), x)
    """
    refuse_unknown("run", {**execution}, ExecutionOptions)
    if not isinstance(spec, NetworkSpec):
        raise TypeError(f"run expected the spec of a network (NetworkSpec), got {type(spec).__name__}")
    owner, how = owner or spec.title, Execution(**execution)
    flags(owner, training=training)
    precision = parameters_precision(owner, spec, arrays, how.state_dtype)
    return call_network(
        owner,
        spec,
        functional_layers(spec, arrays, execution=how),
        precision,
        x,
        state,
        lengths=lengths,
        context=context,
        masks=masks,
        return_all_layers=return_all_layers,
        last_only=last_only,
        training=training,
        layout=layout,
        checkpoint_frames=how.checkpoint_frames,
    )


def call_network(
    owner: str,
    spec: NetworkSpec,
    layers: Sequence[Sequence[LayerCall]],
    precision: Precision,
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
    checkpoint_frames: int | None = None,
) -> tuple[Any, State]:
    """Check the arguments of a call and run the layers of a stack.

    ``layers`` are a stack's modules or pure functions; their parameters have that ``precision``.

    The other arguments, the results and the errors are those of ``run``.
    """
    call = CheckedCall(owner, spec, precision, x, layout)
    every, last = flags(owner, return_all_layers=return_all_layers, last_only=last_only)
    begin, valid = call.state(state), call.valid(lengths)
    given = call.masks(masks)
    if given is None and training:
        given = draw(spec, call.sizes, call.dtype, call.device)
    outputs, final = run_network(
        spec,
        layers,
        call.x,
        begin,
        valid=valid,
        context=call.context(context, valid),
        masks=given,
        all_layers=every,
        last_only=last,
        checkpoint_frames=checkpoint_frames,
    )
    results = [call.last_output(y) if last else call.output(y) for y in outputs]
    return tuple(results) if every else results[-1], call.final(final)


def detach(state: Any) -> Any:
    """Detach a state from its graph, as truncated backpropagation needs between two sequences.

    Args:
        state: what a network or a cell returns, a tensor or tuples of them; or None.

    Raises:
        TypeError: for anything else.

    Example:
        >>> net, state = ConvGRU(3, 8), None
        >>> for part in torch.zeros(100, 2, 3, 16, 16).split(10):
        ...     y, state = net(part, detach(state))
    """
    if isinstance(state, Tensor):
        return state.detach()
    if isinstance(state, (tuple, list)):
        return tuple(map(detach, state))
    if state is None:
        return None
    raise TypeError(f"detach expected a state, a torch.Tensor or a tuple of them, got {type(state).__name__}")
