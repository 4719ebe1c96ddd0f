"""Reading and writing .pt files: state dicts whose metadata carry the spec."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convgru.atomic import replacing
from convgru.shapes import layer_prefix, parameter_shapes
from convgru.spec import Spec, from_json
from convgru.weights import Weights, WeightsError
from convgru_torch.modules import FORMAT, METADATA
from convgru_torch.tensors import TORCH_DTYPES, to_numpy


def read(path: Path) -> Weights:
    """The weights in a .pt file that ``write``, or ``torch.save(net.state_dict(), path)``, left there.

    The state dict may be that of a larger model with one network of convgru in it. Loaded with ``weights_only=True``
    and in no other way. Raises WeightsError for anything else, whatever the bytes are, and OSError where there is no file.
    """
    state = load(path)
    spec, prefix = _spec_in(path, getattr(state, "_metadata", None))
    tensors = {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
    short = "updates.0.weight_ih" if spec.recurrent.layers[0].updates else "weight_ih"
    if short in tensors:  # a bare cell: the network of that layer alone
        tensors = {layer_prefix(0) + name: value for name, value in tensors.items()}
    arrays = _arrays(path, spec, tensors)
    try:
        return Weights(spec, arrays)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None


def load(path: Path) -> Mapping[str, Any]:
    """Whatever mapping of names a .pt file holds, on the CPU. Raises WeightsError for anything else."""
    with open(path, "rb") as file:
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # bytes chosen by others: torch raises a dozen kinds
            reason = " ".join(str(error).split())[:200]
            raise WeightsError(f"{path}: not a PyTorch file of weights ({type(error).__name__}: {reason})") from None
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise WeightsError(f"{path}: expected a state dict, got {type(state).__name__}")
    return state


def _spec_in(path: Path, metadata: Any) -> tuple[Spec, str]:
    """The one spec that stands in a state dict's metadata, and the prefix of its parameters' names."""
    entries = metadata.items() if isinstance(metadata, Mapping) else ()
    found = {
        (f"{name}." if name else ""): entry[METADATA]
        for name, entry in entries
        if isinstance(name, str) and isinstance(entry, Mapping) and METADATA in entry
    }
    outermost = [name for name in found if not any(other != name and name.startswith(other) for other in found)]
    if not outermost:
        raise WeightsError(
            f"{path}: a state dict without a convgru spec (state_dict() of a convgru.torch module has one). That of "
            "another system: convgru.adopt(torch.load(path, weights_only=True)); one of convgru's own whose metadata were lost: "
            "build the module, load_state_dict, convgru.extract"
        )
    if len(outermost) > 1:
        raise WeightsError(f"{path}: several networks, expected one: {', '.join(sorted(outermost))}")
    note = found[outermost[0]]
    if not isinstance(note, Mapping) or note.get("format") != FORMAT or not isinstance(note.get("spec"), str):
        raise WeightsError(f"{path}: expected a spec of format {FORMAT}, got {str(note)[:60]!r}")
    try:
        return from_json(note["spec"]), outermost[0]
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{path}: {error}") from None


def _arrays(path: Path, spec: Spec, tensors: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The tensors as arrays; shapes are compared before anything is copied, so that no small file asks for much memory."""
    shapes = parameter_shapes(spec)
    if tensors.keys() != shapes.keys():
        missing, strange = sorted(shapes.keys() - tensors.keys()), sorted(tensors.keys() - shapes.keys())
        raise WeightsError(f"{path}: missing {missing or 'nothing'}, unexpected {strange or 'nothing'}")
    for name, shape in shapes.items():
        tensor = tensors[name]
        if (
            not isinstance(tensor, Tensor)
            or tensor.layout != torch.strided
            or tensor.dtype not in TORCH_DTYPES.values()
        ):
            kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise WeightsError(f"{path}: {name} expected a dense tensor of {', '.join(TORCH_DTYPES)}, got {kind}")
        if tuple(tensor.shape) != shape:
            raise WeightsError(f"{path}: {name} expected shape {shape}, got {tuple(tensor.shape)}")
        if tensor.is_meta or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise WeightsError(f"{path}: {name} of shape {shape} has fewer numbers in the file than that")
    return {name: to_numpy(tensors[name]) for name in shapes}


def write(state: Mapping[str, Any], path: Path) -> None:
    """Save a state dict, whole or not at all."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        torch.save(state, file)
