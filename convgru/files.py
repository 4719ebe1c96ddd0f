"""Read and write files; the suffix chooses the format.

Where two frameworks share a suffix, the first bytes of the file tell them apart.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from convgru import registry
from convgru.errors import WeightsError
from convgru.formats import hub, keras, npz, safetensors
from convgru.formats.contents import Contents
from convgru.importers import adopt_with_assumptions, export, specless
from convgru.spec import Spec
from convgru.spec.shapes import layer_prefix
from convgru.weights import Weights

OURS = {".safetensors": "convgru's own format"}
FRAMEWORKS = {".pt": "torch", ".pth": "torch", ".msgpack": "flax", ".ckpt": "mindspore"}
"""Suffix of a framework's own checkpoints -> its backend."""
READ_ONLY = {".npz": "numpy", ".bin": "torch", ".tar": "torch", **dict.fromkeys(keras.SUFFIXES, "keras")}
"""Files that are read and not written: NumPy's archives, two names of PyTorch's, Keras'."""
SUFFIXES = (*OURS, *FRAMEWORKS, *READ_ONLY)
ORBAX = ("_METADATA", "_CHECKPOINT_METADATA", "checkpoint")
"""Files of which a folder holds one if it is an orbax checkpoint."""
TORCH = (b"PK\x03\x04", b"\x80")
"""First bytes of PyTorch's .ckpt (MindSpore's differ): a zip archive or, before 1.6, a pickle."""


def backend_of(path: str | os.PathLike[str], layout: str | None = None) -> str | None:
    """Return the backend that writes such a file; None if the core does.

    With another system's ``layout`` a file may also be an .npz archive or, for Keras, a
    .weights.h5. Raises WeightsError if the suffix is unknown.
    """
    name = Path(path).name.lower()
    foreign = ((".npz",) if layout else ()) + ((keras.WRITTEN,) if layout and layout.startswith("keras") else ())
    writers: dict[str, str | None] = {**dict.fromkeys((*OURS, *foreign)), **FRAMEWORKS}
    suffix = next((each for each in writers if name.endswith(each)), None)
    if suffix is None:
        got = Path(path).suffix.lower() or "none"
        advice = ", which holds no spec: numpy.savez writes weights.arrays" if got == ".npz" else ""
        raise WeightsError(f"{path}: expected a suffix of {', '.join(writers)}, got {got!r}{advice}")
    return writers[suffix]


def read(
    path: str | os.PathLike[str],
    layout: str | None = None,
    *,
    prefix: str | None = None,
    spec: Spec | None = None,
    **hints: Any,
) -> Weights:
    """Read weights from a file of convgru, or from a checkpoint of another implementation.

    The suffix says how the arrays are stored: safetensors, .npz, PyTorch's (.pt, .pth, .bin, .tar,
    Lightning's .ckpt), Flax's .msgpack, MindSpore's .ckpt, Keras' .keras, .weights.h5 and .h5; a
    folder is one of orbax or of the Hugging Face Hub. If convgru did not write the file, the layout
    of its arrays is recognised. Nothing in a file is ever executed.

    Where neither the file nor a hint says how the network is configured (a stride, an activation),
    the default of the original is assumed, and a ``UserWarning`` names each assumed value; a hint
    of the same name silences it. ``convgru.inspect`` returns them.

    Args:
        path: The file. That of a framework needs the framework, that of Keras h5py.
        layout: Whose arrays these are: one of ``convgru.importers.LAYOUTS``, or ``"convgru"`` for
            arrays with convgru's own names whose spec was lost. Default: recognised.
        prefix: What the names of the network's arrays begin with, if the file holds several
            networks.
        spec: The spec of the network, if it is known. The arrays must then have its names and
            shapes: convgru's own, or those of ``layout``. No hints go with it.
        **hints: Arguments of the original's constructor, as for ``convgru.adopt``; with
            ``layout="convgru"`` those of ``convgru.network`` or ``convgru.forecaster``.

    Returns:
        The weights, in the dtype of the file.

    Raises:
        WeightsError: The bytes are not sound, or are not one network, whatever they are.
        OSError: The file cannot be opened.
        ImportError: The framework of the suffix is missing; the message gives the command that
            installs it.

    >>> weights = convgru.read("model.safetensors")  # doctest: +SKIP
    """
    held = contents(path)
    try:
        weights, assumed = weights_in(held, layout, held.resolved(prefix), spec, hints)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    if assumed:
        warnings.warn(f"{path}: {specless.sentence(assumed)}", UserWarning, stacklevel=2)
    return weights


def weights_in(
    held: Contents, layout: str | None, prefix: str | None, spec: Spec | None, hints: Mapping[str, Any]
) -> tuple[Weights, Mapping[str, Any]]:
    """Return the weights of the one network in a file's contents, and what was assumed of it.

    Arguments and errors as for ``read``.
    """
    if (declared := declared_in(held, layout, prefix, hints)) is None:
        options: dict[str, Any] = {"configs": held.configs, "config": held.config, "hints": hints}
        return adopt_with_assumptions(numbers(held), layout, prefix=prefix, spec=spec, **options)
    weights = declared.network(prefix)
    if spec is not None and spec != weights.spec:
        raise WeightsError(f"spec expected the file's own, {weights.spec}, got {spec}")
    return weights, {}


def declared_in(held: Contents, layout: str | None, prefix: str | None, hints: Mapping[str, Any]) -> Contents | None:
    """Return the contents if the file declares specs; None if the call asks for other arrays.

    Other arrays are those of another layout, or below a prefix without a spec. Raises WeightsError
    for hints, and for a prefix in the file of one network: neither is needed.
    """
    if not held.specs or layout not in (None, specless.LAYOUT) or held.leads_elsewhere(prefix):
        return None
    if hints or (prefix and "" in held.specs):
        given = sorted([*hints, *(["prefix"] if prefix else [])])
        raise WeightsError(f"the file holds the spec of its network: no prefix and no hints are needed, got {given}")
    return held


def contents(path: str | os.PathLike[str]) -> Contents:
    """Return all arrays of a file by flat name, and the networks that it declares.

    The file may be anyone's, and is opened once. Raises as ``read``.
    """
    where = Path(path)
    if where.is_dir() and (inside := hub.weights_file(where)) is not None:
        where = inside
    held = _arrays_in(where).unwrapped()
    # Beside the files of a Hub folder a config may stand; it is read only for a network of ours
    # without its spec.
    if held.specs or where.suffix.lower() not in (".safetensors", ".bin"):
        return held
    is_cell = specless.is_bare_cell(held.arrays)
    if not is_cell and not specless.prefixes(held.arrays):
        return held
    config = hub.config_beside(where)
    if is_cell and config is not None:  # the network of that layer alone
        held = replace(held, arrays={layer_prefix(0) + name: array for name, array in held.arrays.items()})
    return replace(held, config=config)


def _arrays_in(path: Path) -> Contents:
    """Read a file, importing no framework but the one that wrote it."""
    suffix = path.suffix.lower()
    if suffix in OURS:
        return safetensors.contents(path)
    if suffix == ".npz":
        return Contents(npz.read_arrays(path))
    if suffix in keras.SUFFIXES:
        return keras.contents(path)
    if suffix not in SUFFIXES and not path.is_dir():
        raise WeightsError(f"{path}: expected a suffix of {', '.join(SUFFIXES)}, got {suffix or 'none'!r}")
    path.stat()  # OSError if there is no such file, whatever the framework's own loader makes of that
    if path.is_dir():
        _require_orbax(path)
        return registry.checkpoints("flax").contents(path)
    if not path.is_file():
        raise WeightsError(f"{path}: expected a file, got something else (a pipe or a device)")
    with path.open("rb") as file:
        owner = {**FRAMEWORKS, **READ_ONLY}[suffix]
        if suffix == ".ckpt":
            owner = "torch" if file.read(4).startswith(TORCH) else "mindspore"
            file.seek(0)
        return registry.checkpoints(owner).contents(path, file)


def _require_orbax(folder: Path) -> None:
    """Raise WeightsError, before a framework is imported, for a folder that is no checkpoint."""
    # A manager's folder holds the steps' folders, and these the items'.
    if any(any(folder.glob(below + mark)) for below in ("", "*/", "*/*/") for mark in ORBAX):
        return
    index = folder / "model.safetensors.index.json"
    sharded = f"; {index.name} says that the weights are in several files, which convgru does not join"
    raise WeightsError(
        f"{folder}: not a folder of orbax or of the Hugging Face Hub: expected one of "
        f"{', '.join((*ORBAX, *hub.WEIGHTS))}, got none{sharded if index.is_file() else ''}"
    )


def write(
    weights: Weights, path: str | os.PathLike[str], layout: str | None = None, *, prefix: str | None = None
) -> None:
    """Write weights to a file; the suffix chooses the format.

    ``.safetensors``, or a framework's own: ``.pt``, ``.msgpack``, ``.ckpt``. A file that exists is
    replaced, as numpy.save does (the command line keeps it). The write is atomic: a failure leaves
    what was there.

    Args:
        weights: A spec and its arrays.
        path: Where to write.
        layout: One of ``convgru.importers.LAYOUTS`` or ``EXPORTS``: write a file of that system,
            which it loads as its own, and which holds no spec: a state dict (``.pt``), Flax linen's
            parameters (``.msgpack``), Keras' ``.weights.h5``, or plain arrays (``.npz``,
            ``.safetensors``). ``"convgru"`` stands for convgru's own names.
        prefix: With a layout: the name of the module that the network is in a larger model. The
            file holds the arrays of that module and no others; ``model.load_state_dict(...,
            strict=False)`` takes them.

    Raises:
        TypeError: ``weights`` is not convgru.Weights.
        ValueError: A prefix without a layout.
        WeightsError: The suffix is unknown, or the other system has no such network.
        OSError: The file cannot be written.
        ImportError: The framework of the suffix is missing; the message gives the command that
            installs it.

    >>> convgru.write(weights, "model.safetensors")  # doctest: +SKIP
    >>> convgru.write(  # doctest: +SKIP
    ...     weights, "gru.pt", layout="raft_sep", prefix="module.update_block.gru"
    ... )
    """
    if not isinstance(weights, Weights):
        raise TypeError(f"write expected convgru.Weights, got {type(weights).__name__}; extract(net) makes them")
    if prefix and layout is None:
        raise ValueError(f"prefix goes with a layout (layout='convgru' for convgru's own names), got {prefix!r}")
    backend = backend_of(path, layout)
    if layout is not None:
        _write_arrays(export(weights, layout, prefix=prefix), Path(path), backend)
    elif backend is not None:
        registry.checkpoints(backend).write(weights, Path(path))
    else:
        safetensors.write(weights, path)


def _write_arrays(arrays: Mapping[str, np.ndarray], path: Path, backend: str | None) -> None:
    """Write arrays, named as another system names them, in the format of the suffix."""
    if backend is not None:
        registry.checkpoints(backend).write_arrays(arrays, path)
    elif path.suffix.lower() == ".npz":
        npz.write_arrays(arrays, path)
    elif path.suffix.lower() == ".safetensors":
        safetensors.write_arrays(arrays, path)
    else:
        keras.write(arrays, path)


def numbers(held: Contents) -> dict[str, np.ndarray]:
    """Return the arrays of a file without the counters of norms and trainers."""
    return {name: array for name, array in held.arrays.items() if array.ndim or array.dtype.kind not in "iub"}
