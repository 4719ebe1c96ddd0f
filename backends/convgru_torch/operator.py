"""One layer over a sequence as one operator of programs that torch.compile makes.

A compiled loop over time would hold one T, and take longer to compile the longer it is. An operator
is opaque to the compiler: it runs an implementation of the registry, when the program runs, for
whatever T, B and image come. Its gradient is an operator too, which runs the layer again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.fx.experimental.symbolic_shapes import has_static_value

from convgru.spec import CellSpec, NetworkSpec, from_json, to_json
from convgru.spec.shapes import cell_parameter_shapes
from convgru_torch.execution import Execution
from convgru_torch.readable import Parts, SequenceCall

Runner = Callable[[SequenceCall], tuple[Tensor, Parts]]
"""Runs a call by the best implementation that is no operator."""


def why_not(call: SequenceCall) -> str | None:
    """Return the reason why a call that is traced does not become an operator, or None."""
    if not torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return "an exported program needs no convgru to run"
    if call.x.shape[0] == 1:
        return "a single step compiles once as it is"
    if call.x.device.type != "cpu" and has_static_value(call.x.shape[0]):
        return "on an accelerator the compiler makes faster programs for a fixed T"
    if torch.is_autocast_enabled(call.x.device.type):
        return "autocast is on"
    if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
        return "a transform of torch.func or forward-mode differentiation is active"
    if any(type(a) is not Tensor and type(a) is not nn.Parameter for a in (call.x, *call.parts, *call.arrays.values())):
        return "not all tensors are plain ones"
    return None


def run(call: SequenceCall) -> tuple[Tensor, Parts]:
    """Run a call as an operator."""
    how = (_text(call.cell, call.execution), call.reverse, call.zoneout, call.last_only)
    arrays = [call.arrays[name] for name in cell_parameter_shapes(call.cell)]
    masks = [] if call.zoneout_masks is None else list(call.zoneout_masks)
    y, *final = torch.ops.convgru.layer(
        *how, call.x, list(call.parts), arrays, call.valid, call.context, call.recurrent_mask, masks
    )
    return y, tuple(final)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _text(cell: CellSpec, execution: Execution) -> str:
    """A cell and how to compute it as JSON, with which compiled programs may be saved."""
    how = {name: str(value) if isinstance(value, torch.dtype) else value for name, value in asdict(execution).items()}
    return json.dumps([to_json(NetworkSpec((cell,))), how])


@lru_cache(maxsize=256)
def _parsed(text: str) -> tuple[CellSpec, tuple[str, ...], Execution]:
    """The cell, the names of its parameters, and how to compute."""
    spec, how = json.loads(text)
    (cell,) = from_json(spec).recurrent.layers
    if how["state_dtype"] is not None:
        how["state_dtype"] = getattr(torch, how["state_dtype"].removeprefix("torch."))
    return cell, tuple(cell_parameter_shapes(cell)), Execution(**how)


def _call(arguments: Sequence[Any]) -> SequenceCall:
    """The call of an operator's arguments."""
    text, reverse, zoneout, last_only, x, state, arrays, valid, context, recurrent_mask, zoneout_masks = arguments
    cell, names, execution = _parsed(text)
    return SequenceCall(
        cell,
        dict(zip(names, arrays, strict=True)),
        x,
        tuple(state),
        reverse,
        zoneout,
        valid,
        context,
        recurrent_mask,
        tuple(zoneout_masks) or None,
        last_only,
        execution,
    )


FIXED = 4
"""How many arguments come before the tensors."""
SCHEMA = "str text, bool reverse, float zoneout, bool last_only, Tensor x, Tensor[] state, Tensor[] arrays, Tensor? valid, Tensor? context, "
SCHEMA += "Tensor? recurrent_mask, Tensor[] zoneout_masks"


def register(runner: Runner) -> None:
    """Define ``convgru::layer`` and ``convgru::layer_backward``, which run by ``runner``."""

    def layer(*arguments: Any) -> list[Tensor]:
        with torch.no_grad():  # the gradient is another operator's
            y, final = runner(_call(arguments))
        return [y.contiguous(), *(part.clone(memory_format=torch.contiguous_format) for part in final)]

    def layer_backward(*arguments: Any) -> list[Tensor]:
        how, (*tensors, grads, needs) = arguments[:FIXED], arguments[FIXED:]
        with _recording():
            leaves = [None if a is None else a.detach() for a in _flat(tensors)]
            wanted = [a.requires_grad_() for a, need in zip(leaves, needs, strict=True) if need and a is not None]
            y, final = runner(_call((*how, *_nested(tensors, leaves))))
            pairs = [(a, grad) for a, grad in zip((y, *final), grads, strict=True) if grad is not None]
            gradients = torch.autograd.grad(
                [a for a, _ in pairs], wanted, [grad for _, grad in pairs], allow_unused=True, materialize_grads=True
            )
        return [grad.clone(memory_format=torch.contiguous_format) for grad in gradients]

    forward = torch.library.custom_op("convgru::layer", layer, mutates_args=(), schema=f"({SCHEMA}) -> Tensor[]")
    forward.register_fake(_fake)
    forward.register_autograd(_backward, setup_context=_setup_context)
    backward = torch.library.custom_op(
        "convgru::layer_backward",
        layer_backward,
        mutates_args=(),
        schema=f"({SCHEMA}, Tensor?[] grads, bool[] needs) -> Tensor[]",
    )
    backward.register_fake(_fake_backward)


def _fake(
    text: str, reverse: bool, zoneout: float, last_only: bool, x: Tensor, state: Sequence[Tensor], *others: Any
) -> list[Tensor]:
    """The shapes of the results: contiguous, whatever the arguments are."""
    lead = () if last_only else (x.shape[0],)
    y = state[0].new_empty((*lead, *state[0].shape))
    return [y, *(part.new_empty(part.shape) for part in state)]


def _fake_backward(*arguments: Any) -> list[Tensor]:
    *tensors, _, needs = arguments[FIXED:]
    return [a.new_empty(a.shape) for a, need in zip(_flat(tensors), needs, strict=True) if need and a is not None]


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.how, tensors = inputs[:FIXED], inputs[FIXED:]
    ctx.form = [len(a) if isinstance(a, (list, tuple)) else None for a in tensors]
    ctx.save_for_backward(*_flat(tensors))


def _backward(ctx: Any, grads: Sequence[Tensor | None]) -> tuple[Any, ...]:
    tensors = _unflat(ctx.form, ctx.saved_tensors)
    flat = _flat(_unflat_needs(ctx.form, ctx.needs_input_grad[FIXED:]))
    needs = [bool(need) and a is not None for need, a in zip(flat, ctx.saved_tensors, strict=True)]
    gradients = iter(torch.ops.convgru.layer_backward(*ctx.how, *tensors, list(grads), needs))
    return *(None,) * FIXED, *_unflat(ctx.form, [next(gradients) if need else None for need in needs])


def _flat(arguments: Sequence[Any]) -> list[Any]:
    """Arguments, of which some are lists, in one list."""
    return [a for each in arguments for a in (each if isinstance(each, (list, tuple)) else (each,))]


def _unflat(form: Sequence[int | None], flat: Sequence[Any]) -> list[Any]:
    """The inverse of ``_flat``; ``form`` holds the lengths of lists, and None for what is none."""
    rest = iter(flat)
    return [next(rest) if count is None else [next(rest) for _ in range(count)] for count in form]


def _unflat_needs(form: Sequence[int | None], needs: Sequence[Any]) -> list[Any]:
    """Whether each argument's gradient is wanted: of a list torch says so once, or for each."""
    return [
        need if count is None or isinstance(need, (list, tuple)) else [need] * count
        for count, need in zip(form, needs, strict=True)
    ]


def _nested(tensors: Sequence[Any], flat: Sequence[Any]) -> list[Any]:
    return _unflat([len(a) if isinstance(a, (list, tuple)) else None for a in tensors], flat)


@contextmanager
def _recording() -> Iterator[None]:
    """Let autograd record inside of an operator, below whose call torch turns it off."""
    keys = torch._C._dispatch_tls_local_exclude_set()
    for name in ("AutogradFunctionality", "AutogradOther", "AutogradNestedTensor", "ADInplaceOrView"):
        key = getattr(torch._C.DispatchKey, name)
        keys = keys.remove(key) if keys.has(key) else keys
    included = torch._C._dispatch_tls_local_include_set()
    with torch._C._ForceDispatchKeyGuard(included, keys), torch.enable_grad():
        yield
