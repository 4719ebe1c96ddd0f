"""The demo: a ConvGRU nowcaster trained in PyTorch on one radar day forecasts another day in every framework."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``convgru demo``."""
    parser.add_argument("--out", type=Path, default=Path("convgru-demo"), metavar="FOLDER", help="where the results go")
    parser.add_argument("--seconds", type=float, default=75.0, help="how long to train (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of initial weights and training crops (default: 0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")


def main(args: argparse.Namespace) -> int:
    """Train, write, forecast, compare, draw; 0 if all frameworks agree and persistence is beaten, else 1."""
    from convgru.demo.run import run

    return run(args.out, seconds=args.seconds, seed=args.seed, json_path=args.json)
