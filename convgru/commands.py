"""What each command of the command line does, but for the demo."""

from __future__ import annotations

import argparse
import json
import platform
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

import convgru
from convgru import atomic, files, reference, registry
from convgru import parity as parities
from convgru.report import Report
from convgru.shapes import count_parameters, fitting_size
from convgru.spec import ForecasterSpec, Spec, to_json
from convgru.weights import Weights, WeightsError


def inspect(args: argparse.Namespace) -> int:
    """Print what network a file holds."""
    weights = _read(args.file, args)
    if args.json:
        print(json.dumps(_described(args.file, weights), indent=1))
        return 0
    from convgru import console

    console.show_weights(str(args.file), weights)
    return 0


def convert(args: argparse.Namespace) -> int:
    """Read, write beside the target, read back, compare bytes, run both: then, and only then, the target is there."""
    source, target = args.source, args.target
    owner = files.backend_of(target)
    if args.to is not None and owner not in (None, args.to):
        raise WeightsError(f"{target}: a file of {registry.FRAMEWORKS[owner]}, not of {registry.FRAMEWORKS[args.to]}")
    if target.exists() and not args.force:
        raise WeightsError(f"{target} exists: --force overwrites it")
    weights = _read(source, args)
    with atomic.replacing(target) as temporary:
        files.write(weights, temporary)
        back = files.read(temporary)
        if not back.equal(weights):
            raise WeightsError(f"{target}: what was read back is not what was written")
        lines = _run_both(weights, back, args.to or owner)
    print(
        f"{source} -> {target}: {weights.spec.title}, {count_parameters(weights.spec)} numbers of {weights.dtype}, equal byte for byte"
    )
    print("\n".join(lines))
    return 0


def _run_both(weights: Weights, back: Weights, framework: str | None) -> list[str]:
    """Run source and target once on the same random input. Raises WeightsError if they disagree."""
    x, steps = _random_input(weights.spec), 3 if isinstance(weights.spec, ForecasterSpec) else None
    before, _ = reference.run(weights, x, steps=steps)
    after, _ = reference.run(back, x, steps=steps)
    difference = float(np.abs(before - after).max())
    if difference != 0:
        raise WeightsError(f"source and target differ by {difference:.3g} on random input")
    lines = [f"random input {x.shape}: the float64 reference gives the same numbers for both"]
    if framework is None:
        return lines
    report = parities.compare(weights, x, steps=steps, backends=[framework], gradients=False)
    lines += [f"{key} does not run this: {reason}" for key, reason in report.unsupported.items()]
    for row in report.rows:
        if not row.ok:
            raise WeightsError(
                f"{framework} misses the reference: {row.quantity} off by {row.error:.3g}, budget {row.budget:.3g}"
            )
        lines.append(
            f"{framework} against the reference: {row.quantity} off by {row.error:.2g}, budget {row.budget:.2g}"
        )
    return lines


def parity(args: argparse.Namespace) -> int:
    """Compare backends with the reference; exit code 1 unless everything is within budget."""
    if args.file is None and (args.input or args.size or args.steps):
        raise ValueError("--input, --size and --steps go with a FILE")
    quiet = args.json == "-"
    report = _compare_table(args, quiet) if args.file is None else _compare_file(args)
    if quiet:
        print(report.to_json())
        return 0 if report.ok else 1
    if args.json:
        with atomic.replacing(args.json) as temporary:
            temporary.write_text(report.to_json())
    from convgru import console

    console.show_report(report)
    return 0 if report.ok else 1


def _compare_table(args: argparse.Namespace, quiet: bool) -> Report:
    options: dict[str, Any] = {"backends": args.backends, "device": args.device, "gradients": args.gradients}
    options |= {"dtypes": args.dtype or parities.DTYPES, "fault": args.control, "tf32": args.tf32}
    if quiet:
        return parities.run(**options)
    from convgru import console

    with console.progress() as progress:
        return parities.run(progress=progress, **options)


def _compare_file(args: argparse.Namespace) -> Report:
    if args.control:
        raise ValueError("--control goes with the table of cases, not with a FILE")
    weights = files.read(args.file)
    dtypes = args.dtype or [str(weights.dtype)]
    if len(dtypes) != 1:
        raise ValueError(f"a FILE is compared in one dtype, got {','.join(dtypes)}")
    x = None if args.input is None else _load(args.input)
    return parities.compare(
        weights,
        x,
        size=args.size,
        steps=args.steps,
        backends=args.backends,
        dtype=dtypes[0],
        device=args.device,
        gradients=args.gradients,
        tf32=args.tf32,
    )


def doctor(args: argparse.Namespace) -> int:
    """Print, for every backend, versions, devices and what would run; or what installs it."""
    found = {"convgru": convgru.__version__, "python": platform.python_version(), "numpy": np.__version__}
    backends = {name: _examined(name) for name in registry.ROOMS}
    if args.json:
        print(json.dumps({**found, "backends": backends}, indent=1))
        return 0
    from convgru import console

    console.show_doctor(found, backends)
    return 0


def _examined(name: str) -> dict[str, Any]:
    try:
        backend = registry.get(name)
        return {
            "available": True,
            "versions": backend.versions(),
            "devices": backend.devices(),
            "notes": backend.notes(),
            "suffixes": backend.suffixes,
        }
    except ImportError as error:
        return {"available": False, "reason": str(error)}
    except Exception as error:  # a framework may break in any way while it loads; its neighbours are still worth a look
        return {
            "available": False,
            "reason": f"{registry.FRAMEWORKS[name]} does not load: {type(error).__name__}: {error}",
        }


def _read(path: Path, args: argparse.Namespace) -> Weights:
    return files.read(path, args.layout, prefix=args.prefix, **dict(args.hint))


def _described(path: Path, weights: Weights) -> dict[str, Any]:
    return {
        "file": str(path),
        "network": weights.spec.title,
        "dtype": str(weights.dtype),
        "parameters": count_parameters(weights.spec),
        "spec": json.loads(to_json(weights.spec)),
        "arrays": {name: list(array.shape) for name, array in weights.arrays.items()},
    }


def _random_input(spec: Spec) -> np.ndarray:
    """Two frames of a small image that the network can read."""
    size = fitting_size(spec, 8)
    shape = (2, 1, spec.in_channels, *size)
    return np.random.default_rng(0).standard_normal(prod(shape)).reshape(shape)


def _load(path: Path) -> np.ndarray:
    try:
        x = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: expected an array as numpy.save writes it: {error}") from None
    if not isinstance(x, np.ndarray):
        raise ValueError(f"{path}: expected one array as numpy.save writes it, got an archive")
    return x
