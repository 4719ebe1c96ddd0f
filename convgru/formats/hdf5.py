"""Read arrays and attributes of an HDF5 file with h5py, in a process with limits."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from convgru.errors import WeightsError
from convgru.formats import zip_limits
from convgru.weights import DTYPES

MEMORY = 256 << 20
"""Bytes that reading may take besides sixteen times the file."""
SECONDS = 4
"""Processor time for a file; a second more for each 32 MiB."""
READER = Path(__file__).with_name("hdf5_process.py")


@dataclass(frozen=True)
class Tree:
    """What an HDF5 file holds: numeric arrays by path, attributes by the path of their group."""

    arrays: Mapping[str, np.ndarray]
    texts: Mapping[str, Mapping[str, str]]


def h5py() -> Any:
    """Return the package h5py. Raises ImportError with the command that installs it."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError('files of Keras need h5py: pip install "convgru[keras]"') from error
    return h5py


def read(data: bytes, texts: Mapping[str, int], skip: tuple[str, ...] = ()) -> Tree:
    """Return the numeric arrays, and some attributes, of a file with these bytes.

    Args:
        data: The whole file.
        texts: Attributes to read, with the greatest length of each: ``name`` is one of groups that
            are called ``vars``, any other one of the file's own.
        skip: Beginnings of paths whose arrays are left out.

    Raises:
        WeightsError: The file is damaged or not what it should be, or takes HDF5 more memory or
            time than its size warrants.
    """
    room = zip_limits.room(len(data))
    seconds = SECONDS + (len(data) >> 25)
    order = {"path": sys.path, "skip": list(skip), "texts": dict(texts), "room": room}
    order |= {"memory": MEMORY + zip_limits.RATIO * len(data), "seconds": seconds}
    command = [sys.executable, "-I", str(READER)]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(order).encode() + b"\n" + data,
            capture_output=True,
            timeout=60 + 10 * seconds,
        )
    except subprocess.TimeoutExpired:
        raise WeightsError("HDF5 does not come to an end with it: the file is damaged") from None
    head, _, numbers = done.stdout.partition(b"\n")
    if done.returncode or not head:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        reason = said[-1] if said else f"HDF5 ended by signal {-done.returncode}, out of time or memory"
        raise WeightsError(f"the file is damaged: {reason}")
    answer = json.loads(head)
    if "error" in answer:
        raise WeightsError(answer["error"])
    return Tree(_arrays(answer["arrays"], numbers), answer["texts"])


def _arrays(described: list[tuple[str, str, list[int], str]], numbers: bytes) -> dict[str, np.ndarray]:
    """Cut the bytes of all arrays into them."""
    arrays: dict[str, np.ndarray] = {}
    start = 0
    for path, stored, shape, kind in described:
        dtype = DTYPES[kind] if kind else np.dtype(stored)
        stop = start + prod(shape) * dtype.itemsize
        arrays[path] = np.frombuffer(bytearray(numbers[start:stop]), dtype).reshape(shape)
        start = stop
    return arrays
