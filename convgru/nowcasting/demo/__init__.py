"""The demo: train a ConvGRU nowcaster in PyTorch, forecast with it in every framework.

It is trained on one radar day and forecasts another.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from convgru.nowcasting.training import STEPS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``convgru demo`` that no other command has."""
    parser.add_argument(
        "--folder", type=Path, default=Path("convgru-demo"), metavar="FOLDER", help="where the results go (%(default)s)"
    )
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER", help="where the radar days are (default: the checkout's examples/data)"
    )
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of training (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of initial weights and training crops (default: 0)")
