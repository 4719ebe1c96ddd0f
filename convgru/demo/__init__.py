"""The demo: train a ConvGRU nowcaster in PyTorch, forecast with it in every framework.

It is trained on one radar day and forecasts another.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``convgru demo`` that no other command has."""
    parser.add_argument(
        "--folder", type=Path, default=Path("convgru-demo"), metavar="FOLDER", help="where the results go (%(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=75.0, help="how long to train (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of initial weights and training crops (default: 0)")
