"""Run a sequence in parts of some frames, each of which is computed again for its gradient.

Only the states between the parts and the outputs are kept (Chen et al. 2016, arXiv:1604.06174).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from convgru_torch.masks import Masks

Run = Callable[..., tuple[list[Tensor], Any]]
"""(x, state, valid=, context=, masks=) to outputs and final state."""


def needed(frames: int | None, x: Tensor) -> bool:
    """Whether to run x (T, B, …) in parts: if it is longer, and gradients may be asked for.

    Not in a trace, whose gradient is its compiler's, and not in a transform of torch.func, which
    takes no checkpoints.
    """
    if frames is None or not torch.is_grad_enabled() or torch.compiler.is_compiling() or x.shape[0] <= frames:
        return False
    return torch._C._get_tracing_state() is None and not torch._C._are_functorch_transforms_active()


def run(
    call: Run,
    frames: int,
    x: Tensor,
    state: Any,
    *,
    valid: Tensor | None,
    context: Sequence[Tensor] | None,
    masks: Masks,
    last_only: bool,
    reverse: bool = False,
) -> tuple[list[Tensor], Any]:
    """Run ``call`` on parts of x (T, B, …) in reading order, from the state of the part before.

    Outputs are those of the whole sequence: (T, B, …), or with ``last_only`` each sample's last
    valid frame. The other arguments are those of ``run_network``, cut in time.
    """
    starts = range(0, x.shape[0], frames)
    results: list[list[Tensor]] = []
    valids: list[Tensor | None] = []
    for start in reversed(starts) if reverse else starts:
        part = slice(start, start + frames)
        valids.append(None if valid is None else valid[part])
        options = {
            "valid": valids[-1],
            "context": None if context is None else [c[part] if c.ndim == x.ndim else c for c in context],
            "masks": {n: mask if n.startswith("recurrent.") else mask[part] for n, mask in masks.items()},
        }
        outputs, state = checkpoint(partial(call, **options), x[part], state, use_reentrant=False)
        results.append(outputs)
    if reverse:
        results, valids = results[::-1], valids[::-1]
    join = partial(_last, valids=valids) if last_only else torch.cat
    return [join(list(each)) for each in zip(*results, strict=True)], state


def _last(outputs: Sequence[Tensor], valids: Sequence[Tensor | None]) -> Tensor:
    """Each sample's last valid frame, from that of each part, which is zeros where it has none."""
    y = outputs[0]
    for later, valid in zip(outputs[1:], valids[1:], strict=True):
        y = later if valid is None else torch.where(valid.any(0), later, y)
    return y


def layer_in_parts(layer: Callable[..., tuple[Tensor, Any]], frames: int, reverse: bool) -> Callable[..., Any]:
    """One layer in one direction over a sequence, as ``layer`` is called, in parts."""

    def call(
        x: Tensor,
        state: Any,
        *,
        valid: Tensor | None = None,
        context: Tensor | None = None,
        recurrent_mask: Tensor | None = None,
        zoneout_masks: Sequence[Tensor] | None = None,
        last_only: bool = False,
    ) -> tuple[Tensor, Any]:
        def one(
            x: Tensor, state: Any, valid: Tensor | None, context: Sequence[Tensor] | None, masks: Mapping[str, Tensor]
        ) -> tuple[list[Tensor], Any]:
            y, new = layer(
                x,
                state,
                valid=valid,
                context=None if context is None else context[0],
                recurrent_mask=recurrent_mask,
                zoneout_masks=tuple(masks.values()) or None,
                last_only=last_only,
            )
            return [y], new

        masks = {f"zoneout.{i}": mask for i, mask in enumerate(zoneout_masks or ())}
        contexts = None if context is None else [context]
        (y,), final = run(
            one, frames, x, state, valid=valid, context=contexts, masks=masks, last_only=last_only, reverse=reverse
        )
        return y, final

    return call
