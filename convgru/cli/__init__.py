"""The command line: ``convgru inspect``, ``convert``, ``parity``, ``bench``, ``doctor``, ``demo``.

docs/command-line.md documents them.

Exit codes: 0; 1 if a number is over budget, an input is bad or a file was kept; 2 on bad usage; 130
if interrupted. No command replaces a file that exists, whoever wrote it, unless ``--force`` says
so.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import convgru
from convgru import registry
from convgru.cli.arguments import names_of, positive
from convgru.cli.bench import add_bench
from convgru.cli.convert import TARGETS
from convgru.errors import MOST, UsageError, printable
from convgru.formats import atomic
from convgru.importers import EXPORTS, LAYOUTS
from convgru.importers.specless import LAYOUT
from convgru.parity.faults import FAULTS
from convgru.weights import DTYPES


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; bad input is one line on stderr, no traceback."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # whoever started this closed it
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    args = _parser().parse_args(argv)
    try:
        code = _command(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of a pipe has gone, ``| head`` for one
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ImportError, OSError, TypeError, ValueError) as error:  # WeightsError, UnsupportedError among them
        print(f"convgru: {printable(error, MOST)}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except MemoryError as error:
        print(f"convgru: not enough memory: {printable(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("convgru: interrupted", file=sys.stderr)
        return 130


def _command(args: argparse.Namespace) -> int:
    written: dict[Path, str] = {}
    for name in ("output", "csv", "plot"):
        path = getattr(args, name, None)
        if path is not None:
            require_writable(path, force=args.force)
            other = written.setdefault(path.resolve(), name)
            if other != name:
                raise UsageError(f"--{other} and --{name} expected different files, got {path} for both")
    from convgru.cli import commands

    code: int = getattr(commands, args.command)(args)
    return code


def require_writable(path: Path, *, force: bool) -> None:
    """Raise OSError, before any work is done, if a file exists or cannot be one."""
    if not force and os.path.lexists(path):
        raise FileExistsError(f"{path} exists: --force replaces it")
    atomic.require_file(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="convgru", description=convgru.__doc__)
    parser.add_argument("--version", action="version", version=f"convgru {convgru.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_inspect(commands)
    _add_convert(commands)
    _add_parity(commands)
    _add_output(add_bench(commands))
    doctor = commands.add_parser("doctor", help="which backends, versions and devices are here, and what would run")
    _add_output(doctor)
    demo = commands.add_parser("demo", help="train on real radar in PyTorch, forecast in every framework")
    from convgru.nowcasting.demo import add_arguments

    add_arguments(demo)
    _add_output(demo)
    return parser


def _add_inspect(commands: Any) -> None:
    inspect = commands.add_parser("inspect", help="what networks a file holds, and what else")
    inspect.add_argument("file", type=Path, metavar="FILE")
    _add_layout(inspect)
    _add_output(inspect)


def _add_convert(commands: Any) -> None:
    convert = commands.add_parser(
        "convert",
        help="from one kind of file to another, or a whole folder, verified by running both",
        description=(
            "The suffix of DST says what is written: .safetensors, .pt (PyTorch), .msgpack (Flax), .ckpt (MindSpore), "
            ".weights.h5 (Keras). If SRC is a folder, every checkpoint below it is converted to the same place below DST."
        ),
    )
    convert.add_argument("source", type=Path, metavar="SRC")
    convert.add_argument("target", type=Path, metavar="DST")
    _add_layout(convert)
    convert.add_argument(
        "--to",
        choices=list(TARGETS),
        metavar="NAME",
        help=(
            f"the framework that is to run DST, and does so once ({', '.join(registry.FRAMEWORKS)}), or the system "
            f"whose file it is to be: {', '.join(sorted(EXPORTS))}"
        ),
    )
    _add_force(convert)


def _add_output(parser: argparse.ArgumentParser) -> None:
    """Add the options that give the results to other programs."""
    parser.add_argument("--json", action="store_true", help="print JSON to stdout, and nothing else there")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the same JSON to FILE")
    _add_force(parser)


def _add_force(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="replace files that exist (default: they are kept)")


def _add_layout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--layout",
        type=_layout,
        metavar="NAME",
        help="the system that wrote the file, if convgru does not recognise it",
    )
    parser.add_argument(
        "--prefix", help="the beginning of the names of the network's arrays, if the file holds several networks"
    )
    parser.add_argument(
        "--hint",
        action="append",
        default=[],
        type=_hint,
        metavar="NAME=VALUE",
        help="an argument of the original's constructor, which arrays do not tell (padding=same); may be repeated",
    )


def _add_parity(commands: Any) -> None:
    parity = commands.add_parser(
        "parity",
        help="compare every backend with the float64 reference: the table of cases, or a file",
        description="Exit code 1 if an error is over budget, a planted fault goes unnoticed, or nothing was compared.",
    )
    parity.add_argument("file", type=Path, nargs="?", metavar="FILE", help="weights (default: the table of cases)")
    parity.add_argument(
        "--backends", type=names_of(registry.ROOMS), metavar="NAMES", help=f"of {','.join(registry.ROOMS)}"
    )
    parity.add_argument(
        "--module",
        type=_module,
        metavar="PACKAGE.MODULE:NAME",
        help="compare a network of your own instead: a function, or a class, that is imported from there (docs/parity.md)",
    )
    parity.add_argument(
        "--jobs",
        type=positive,
        help="how many processes share the table (default: one for each core, at most 4; on a GPU 1)",
    )
    parity.add_argument(
        "--optimised",
        action="store_true",
        help="let XLA optimise float64 too, as it does for users (default on a CPU: float32 alone, in less time)",
    )
    parity.add_argument(
        "--cache", type=Path, metavar="DIR", help="keep XLA's compiled programs in DIR, so that the next run is shorter"
    )
    parity.add_argument(
        "--dtype",
        type=names_of(DTYPES),
        metavar="NAMES",
        help=f"of {','.join(DTYPES)} (default: float32,float64; for a file its own)",
    )
    parity.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 … (default: cpu)")
    parity.add_argument("--input", type=Path, metavar="X.npy", help="input (T, B, C, *S) for FILE (default: random)")
    parity.add_argument(
        "--size", type=_sizes, metavar="N,N", help="image size of the random input for FILE (default: 16 each)"
    )
    parity.add_argument("--steps", type=int, help="how far a forecaster in FILE forecasts (default: 3)")
    parity.add_argument(
        "--no-gradients", dest="gradients", action="store_false", help="compare outputs and states only"
    )
    parity.add_argument("--tf32", action="store_true", help="leave TF32 on, with the budget that goes with it")
    parity.add_argument(
        "--control", choices=list(FAULTS), help="plant this fault in every case: the run must then fail"
    )
    _add_layout(parity)
    _add_output(parity)


def _sizes(text: str) -> tuple[int, ...]:
    sizes = text.split(",")
    if not all(n.isdecimal() and n.isascii() and len(n) < 19 and int(n) > 0 for n in sizes):
        raise argparse.ArgumentTypeError(f"expected positive numbers with commas between, got {text!r}")
    return tuple(map(int, sizes))


def _module(text: str) -> str:
    if not all(text.partition(":")):
        raise argparse.ArgumentTypeError(f"expected package.module:name, got {text!r}")
    return text


def _layout(text: str) -> str:
    if text != LAYOUT and not any(f"{name}.".startswith(f"{text}.") for name in LAYOUTS):
        systems = dict.fromkeys(name.partition(".")[0] for name in LAYOUTS)
        raise argparse.ArgumentTypeError(f"expected one of {', '.join((LAYOUT, *systems))}, got {text!r}")
    return text


def _hint(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    if name in ("path", "layout", "prefix", "spec"):  # arguments of convgru.read itself
        raise argparse.ArgumentTypeError(f"expected an argument of the original's constructor, got {name!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
