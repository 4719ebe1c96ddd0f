"""What each command of the command line does, but for the demo."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

import convgru
from convgru import files, inspection, registry
from convgru import parity as parities
from convgru.cli import convert as conversion
from convgru.formats import atomic
from convgru.parity.report import Report
from convgru.spec import to_json
from convgru.spec.shapes import count_parameters


def inspect(args: argparse.Namespace) -> int:
    """Print what networks a file holds; of one network also the arrays."""
    found = inspection.inspect(args.file, args.layout, prefix=args.prefix, **dict(args.hint))
    if args.json:
        print(json.dumps(_described(found), indent=1))
        return 0
    from convgru.cli import console

    if found.weights is not None:
        console.show_weights(str(args.file), found.weights)
    console.show_survey(found)
    return 0


def convert(args: argparse.Namespace) -> int:
    """Convert a file, or every checkpoint below a folder; exit code 1 if one of them fails."""
    how = conversion.Source(args.layout, args.prefix, dict(args.hint))
    if not args.source.is_dir() or conversion.is_checkpoint(args.source):
        _say(conversion.convert(args.source, args.target, how, args.to, force=args.force))
        return 0
    from convgru.cli import console

    pairs = conversion.pairs_in(args.source, args.target, args.to)
    failed = 0
    with console.progress() as progress:
        for number, (source, target) in enumerate(pairs):
            progress(number, len(pairs), source.name)
            done = conversion.attempt(source, target, how, args.to, force=args.force)
            failed += bool(done.error)
            _say(done)
    print(f"{len(pairs) - failed} of {len(pairs)} converted" + (f", {failed} failed" if failed else ""))
    return 1 if failed else 0


def _say(done: conversion.Converted) -> None:
    if done.weights is None:
        where = "" if str(done.source) in done.error else f"{done.source}: "
        print(f"convgru: {where}{done.error}", file=sys.stderr)
        return
    spec = done.weights.spec
    print(
        f"{done.source} -> {done.target}: {spec.title}, {count_parameters(spec)} numbers of {done.weights.dtype}, {done.lines[0]}"
    )
    print("\n".join(done.lines[1:]))


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
    from convgru.cli import console

    console.show_report(report)
    return 0 if report.ok else 1


def _compare_table(args: argparse.Namespace, quiet: bool) -> Report:
    options: dict[str, Any] = {"backends": args.backends, "device": args.device, "gradients": args.gradients}
    options |= {"dtypes": args.dtype or parities.DTYPES, "fault": args.control, "tf32": args.tf32}
    if quiet:
        return parities.run(**options)
    from convgru.cli import console

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
    from convgru.cli import console

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
            "suffixes": [suffix for suffix, owner in files.FRAMEWORKS.items() if owner == name],
        }
    except ImportError as error:
        return {"available": False, "reason": str(error)}
    except Exception as error:  # a framework may break in any way while it loads; its neighbours are still worth a look
        return {
            "available": False,
            "reason": f"{registry.FRAMEWORKS[name]} does not load: {type(error).__name__}: {error}",
        }


def _described(found: inspection.Survey) -> dict[str, Any]:
    text: dict[str, Any] = {
        "file": str(found.path),
        "networks": [
            {
                "prefix": each.prefix,
                "layout": each.layout,
                "network": each.spec.title,
                "spec": json.loads(to_json(each.spec)),
                "assumed": dict(each.assumed),
            }
            for each in found.networks
        ],
        "left": list(found.left),
    }
    weights = found.weights
    if weights is not None:
        text |= {
            "network": weights.spec.title,
            "dtype": str(weights.dtype),
            "parameters": count_parameters(weights.spec),
            "spec": json.loads(to_json(weights.spec)),
            "arrays": {name: list(array.shape) for name, array in weights.arrays.items()},
        }
    return text


def _load(path: Path) -> np.ndarray:
    try:
        x = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: expected an array as numpy.save writes it: {error}") from None
    if not isinstance(x, np.ndarray):
        raise ValueError(f"{path}: expected one array as numpy.save writes it, got an archive")
    return x
