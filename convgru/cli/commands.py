"""The commands of the command line: each takes the parsed arguments and returns an exit code."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from math import prod
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

import convgru
from convgru import files, inspection, registry
from convgru import parity as parities
from convgru.cli import convert as conversion
from convgru.errors import UsageError
from convgru.formats import atomic
from convgru.parity import processes
from convgru.parity.cases import FRAMES
from convgru.parity.report import Report
from convgru.spec import ForecasterSpec, Spec, to_json
from convgru.spec.shapes import count_parameters


def inspect(args: argparse.Namespace) -> int:
    """Print what networks a file holds; of one network also the arrays."""
    survey = conversion.Source(args.layout, args.prefix, dict(args.hint)).survey(args.file)
    if publish(args, json.dumps(_described(survey), indent=1)):
        from convgru.cli import console

        if survey.weights is not None:
            console.show_weights(str(args.file), survey.weights)
        console.show_survey(survey)
    return 0


def publish(args: argparse.Namespace, text: str) -> bool:
    """Write JSON to ``--output``, print it with ``--json``; return whether to show tables."""
    if args.output is not None:
        try:
            with atomic.replacing(args.output, overwrite=args.force) as temporary:
                temporary.write_text(text + "\n", encoding="utf-8")
        except OSError:  # a file of that name is new, or the disk is full: the results are not lost
            print(text)
            raise
    if args.json:
        print(text)
    return not args.json


def convert(args: argparse.Namespace) -> int:
    """Convert a file, or every checkpoint below a folder; exit code 1 if any failed or was kept."""
    whole_folder = args.source.is_dir() and not conversion.is_checkpoint(args.source)
    if whole_folder and args.target.is_file():
        raise UsageError(f"{args.target} is a file; for a folder SRC, DST must be a folder")
    source = conversion.Source(args.layout, args.prefix, dict(args.hint))
    if not whole_folder:
        _print_result(conversion.convert(args.source, args.target, source, args.to, force=args.force))
        return 0
    from convgru.cli import console

    pairs = conversion.pairs_in(args.source, args.target, args.to)
    results = []
    with console.progress() as progress:
        for number, (path, target) in enumerate(pairs):
            progress(number, len(pairs), path.name)
            results.append(conversion.attempt(path, target, source, args.to, force=args.force))
            _print_result(results[-1])
    kept, failed = sum(result.kept for result in results), sum(bool(result.error) for result in results)
    counts = [f"{len(pairs) - kept - failed} of {len(pairs)} converted"]
    counts += [f"{kept} kept (--force replaces them)"] * bool(kept) + [f"{failed} failed"] * bool(failed)
    print(", ".join(counts))
    return 1 if kept or failed else 0


def _print_result(result: conversion.Result) -> None:
    if result.kept:
        print(f"{result.source}: kept {result.target}, which exists")
    elif result.weights is None:
        where = "" if str(result.source) in result.error else f"{result.source}: "
        print(f"convgru: {where}{result.error}", file=sys.stderr)
    else:
        spec, dtype = result.weights.spec, result.weights.dtype
        size = f"{count_parameters(spec)} numbers of {dtype}"
        print(f"{result.source} -> {result.target}: {spec.title}, {size}, {result.lines[0]}")
        print("\n".join(result.lines[1:]))


def parity(args: argparse.Namespace) -> int:
    """Compare backends with the reference; exit code 1 unless everything is within budget."""
    of_a_file = (args.input, args.size, args.steps, args.layout, args.prefix, args.hint)
    if args.file is None and any(option not in (None, []) for option in of_a_file):
        raise UsageError("--input, --size, --steps, --layout, --prefix and --hint go with a FILE")
    if args.input is not None and args.size is not None:
        raise UsageError("--size is that of random input: it does not go with --input")
    if args.module is not None:
        sys.path.insert(0, str(Path.cwd()))  # as ``python -m`` does
    report = _compare_table(args) if args.file is None else _compare_file(args)
    if publish(args, report.to_json()):
        from convgru.cli import console

        console.show_report(report)
    return 0 if report.ok else 1


def _compare_table(args: argparse.Namespace) -> Report:
    options: dict[str, Any] = {"backends": args.backends, "device": args.device, "gradients": args.gradients}
    options |= {"dtypes": args.dtype or parities.DTYPES, "fault": args.control, "tf32": args.tf32}
    options |= {"module": args.module, "cache": args.cache}
    most = min(4, len(processes.cores())) if args.device == "cpu" else 1
    jobs = most if args.jobs is None else args.jobs
    options |= {"jobs": jobs, "quick": args.device == "cpu" and not args.optimised}
    if args.json:
        return parities.run(**options)
    from convgru.cli import console

    with console.progress() as progress:
        return parities.run(progress=progress, **options)


def _compare_file(args: argparse.Namespace) -> Report:
    for option, value in (("--control", args.control), ("--jobs", args.jobs), ("--optimised", args.optimised or None)):
        if value is not None:
            raise UsageError(f"{option} goes with the table of cases, not with a FILE")
    if args.dtype and len(args.dtype) != 1:
        raise UsageError(f"a FILE is compared in one dtype, got {','.join(args.dtype)}")
    weights, assumed = conversion.Source(args.layout, args.prefix, dict(args.hint)).read(args.file)
    if assumed:
        print(f"convgru: {args.file} does not say everything: {inspection.assumption(assumed)}", file=sys.stderr)
    dtypes = args.dtype or [str(weights.dtype)]
    if args.steps is not None and not isinstance(weights.spec, ForecasterSpec):
        raise UsageError(f"--steps is how far a forecaster forecasts: {args.file} holds {weights.spec}")
    x = None if args.input is None else _load(args.input)
    if x is None and args.size is not None:
        _check_size(weights.spec, args.size)
    try:
        return parities.compare(
            weights,
            x,
            size=args.size,
            steps=args.steps,
            backends=args.backends,
            module=args.module,
            cache=args.cache,
            dtype=dtypes[0],
            device=args.device,
            gradients=args.gradients,
            tf32=args.tf32,
        )
    except MemoryError:
        if args.size is None:
            raise
        raise UsageError(f"--size {_joined(args.size)}: this machine has not enough memory for it") from None


def _check_size(spec: Spec, size: tuple[int, ...]) -> None:
    """Refuse an image size of which the machine could not hold the input alone."""
    from convgru.bench import memory

    if len(size) != spec.ndim:
        raise UsageError(f"--size expected {spec.ndim} numbers for {spec.title}, got {_joined(size)}")
    numbers, there = prod(FRAMES) * spec.in_channels * prod(size), memory.installed()
    needed = numbers * np.dtype(np.float64).itemsize
    if there and needed > there:
        raise UsageError(
            f"--size {_joined(size)}: the random input alone would take {needed / 2**30:.3g} GiB, "
            f"and this machine has {there / 2**30:.3g}"
        )


def _joined(size: tuple[int, ...]) -> str:
    return ",".join(map(str, size))


def bench(args: argparse.Namespace) -> int:
    """Time the backends; exit code 1 if a contestant failed, or computed other numbers."""
    from convgru.bench import tables
    from convgru.cli import bench as command

    report = command.run(args)
    if publish(args, report.to_json()):
        if args.markdown:
            print(tables.markdown(report))
        else:
            from convgru.cli import console

            console.show_bench(report)
    command.write(args, report)  # last: should it fail, the results are there already
    return 0 if report.ok else 1


def doctor(args: argparse.Namespace) -> int:
    """Print, for every backend, versions, devices and what would run; or what installs it."""
    versions = {"convgru": convgru.__version__, "python": platform.python_version(), "numpy": np.__version__}
    backends = {name: _examined(name) for name in registry.ROOMS}
    if publish(args, json.dumps({**versions, "backends": backends}, indent=1)):
        from convgru.cli import console

        console.show_doctor(versions, backends)
    return 0


def demo(args: argparse.Namespace) -> int:
    """Train, forecast, compare; exit code 1 unless frameworks agree and the forecast is good."""
    from convgru.cli import console
    from convgru.nowcasting.demo.run import run

    screen = console.Console(stderr=args.json)  # with --json stdout is for JSON alone
    ok, summary = run(screen, args.folder, source=args.data, steps=args.steps, seed=args.seed, force=args.force)
    publish(args, json.dumps(summary, indent=1))
    return 0 if ok else 1


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


def _described(survey: inspection.Survey) -> dict[str, Any]:
    text: dict[str, Any] = {
        "file": str(survey.path),
        "networks": [
            {
                "prefix": each.prefix,
                "layout": each.layout,
                "network": each.spec.title,
                "spec": json.loads(to_json(each.spec)),
                "assumed": dict(each.assumed),
            }
            for each in survey.networks
        ],
        "left": list(survey.left),
        "checksums": "verified" if survey.verified else "none",
    }
    weights = survey.weights
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
    except (ValueError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path}: expected an array as numpy.save writes it: {error}") from None
    if not isinstance(x, np.ndarray):
        x.close()
        raise ValueError(f"{path}: expected one array as numpy.save writes it, got an archive")
    return x
