"""The command ``bench``: its options, and what it prints and writes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from convgru import bench
from convgru.bench import BACKENDS, CELLS, RIVALS, SCALE, WORKLOADS, Report, Settings, plot
from convgru.bench.contest import PRECISIONS
from convgru.cli.arguments import names_of, positive
from convgru.formats import atomic


def add_bench(commands: Any) -> argparse.ArgumentParser:
    """Add the command and its own options."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "bench",
        help="time every backend beside its rivals and the convolutions alone",
        description=(
            "Each workload runs in a process of its own, in which convgru and its rivals take turns. Exit code 1 if a "
            "contestant fails or computes other numbers; memory that runs out is a row. docs/performance.md explains it."
        ),
    )
    parser.add_argument(
        "--backends", type=names_of(BACKENDS), metavar="NAMES", help=f"of {','.join(BACKENDS)} (default: the installed)"
    )
    parser.add_argument(
        "--workloads", type=names_of(WORKLOADS), metavar="NAMES", help=f"of {','.join(WORKLOADS)} (default: all)"
    )
    parser.add_argument("--cells", type=names_of(CELLS), metavar="NAMES", help="of gru,lstm (default: both)")
    parser.add_argument(
        "--scale",
        type=_scale,
        metavar="N",
        help=f"shrink workloads of more than N times the largest's work (default: {SCALE})",
    )
    parser.add_argument("--runs", type=positive, metavar="N", help="rounds in which they take turns (default: 5)")
    parser.add_argument(
        "--patience", type=positive, metavar="SECONDS", help="after which one takes no more turns (default: 10)"
    )
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="of each process (default: as the frameworks choose)"
    )
    parser.add_argument(
        "--impl", action="append", default=[], metavar="NAME", help="also time convgru with impl=NAME; may be repeated"
    )
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        type=_variant,
        metavar="NAME=VALUE,…",
        help="also time convgru built with these options, such as memory=lean; may be repeated",
    )
    parser.add_argument(
        "--rivals", type=names_of(RIVALS), metavar="NAMES", help=f"of {','.join(RIVALS)} (default: all there are)"
    )
    parser.add_argument(
        "--compile", action="store_true", help="also the plain loop under torch.compile, which takes minutes"
    )
    parser.add_argument(
        "--no-memory", dest="memory", action="store_false", help="leave out peak memory, which takes a process each"
    )
    parser.add_argument(
        "--memory-limit", type=positive, metavar="MB", help="what a process may take beyond framework and arrays"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: PyTorch alone (default: cpu)")
    parser.add_argument(
        "--precision",
        choices=(*PRECISIONS,),
        default="float32",
        help="of all contestants, PyTorch alone (default: float32)",
    )
    parser.add_argument(
        "--markdown", action="store_true", help="print the tables as Markdown, as docs/performance.md has them"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write one line for each contestant and measure")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the ratios to the floor (needs matplotlib)")
    return parser


def settings_of(args: argparse.Namespace) -> Settings:
    """Return the settings that the arguments ask for; what was not given has its default."""
    given: dict[str, Any] = {name: getattr(args, name) for name in ("scale", "runs", "patience", "threads")}
    given |= {name: getattr(args, name) for name in ("backends", "workloads", "cells", "rivals")}
    given = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items() if v is not None}
    limit = None if args.memory_limit is None else args.memory_limit * 10**6
    variants = [*({"impl": name} for name in args.impl), *args.variant]
    return Settings(
        **given,
        variants=variants,
        compiled=args.compile,
        memory=args.memory,
        memory_limit=limit,
        device=args.device,
        precision=args.precision,
    )


def run(args: argparse.Namespace) -> Report:
    """Run the benchmark, with a progress bar unless stdout is for JSON."""
    if args.plot is not None:
        plot.require()
    settings = settings_of(args)
    if args.json:
        return bench.run(settings)
    from convgru.cli import console

    with console.progress() as progress:
        return bench.run(settings, progress)


def write(args: argparse.Namespace, report: Report) -> None:
    """Write the CSV and the picture that the arguments ask for."""
    if args.csv is not None:
        with atomic.replacing(args.csv, overwrite=args.force) as temporary:
            temporary.write_text(report.to_csv(), encoding="utf-8")
    if args.plot is not None:
        plot.draw(report, args.plot, overwrite=args.force)


def _scale(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0 and at most 1, got {text!r}")
    return value


def _variant(text: str) -> dict[str, Any]:
    options = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals or not name.isidentifier():
            raise argparse.ArgumentTypeError(f"expected NAME=VALUE, with commas between several, got {text!r}")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options
