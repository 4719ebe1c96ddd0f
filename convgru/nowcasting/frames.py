"""One's own frames: read from .npz and .npy files, and scaled for a network."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np


@dataclass(frozen=True)
class Units:
    """What the numbers of the frames mean.

    Args:
        name: of the unit, for tables and pictures.
        zero: "no echo"; weaker values and missing ones (NaN) become this.
        scale: so much above ``zero`` becomes 1 for the network.
        thresholds: events that scores count, and that training is to get right.
        minutes: between two frames.
    """

    name: str = "dBZ"
    zero: float = 0.0
    scale: float = 40.0
    thresholds: tuple[float, ...] = (10.0, 20.0)
    minutes: float = 5.0

    def __post_init__(self) -> None:
        if not (np.isfinite([self.zero, self.scale, self.minutes]).all() and self.scale > 0 and self.minutes > 0):
            raise ValueError(f"Units expected a finite zero, and scale and minutes above 0, got {self}")
        if not self.thresholds or not all(limit > self.zero for limit in self.thresholds):
            raise ValueError(f"Units expected thresholds above zero ({self.zero:g}), got {self.thresholds}")

    def clean(self, frames: np.ndarray) -> np.ndarray:
        """Replace what is weaker than ``zero``, or no finite number, by ``zero``: float32."""
        values = frames.astype(np.float32)
        return np.maximum(np.where(np.isfinite(values), values, self.zero), self.zero).astype(np.float32)

    def scaled(self, values: np.ndarray | float) -> np.ndarray:
        """The numbers that the network sees."""
        return np.asarray((np.asarray(values) - self.zero) / self.scale, np.float32)

    def restored(self, values: np.ndarray) -> np.ndarray:
        """The frames that the network's numbers mean."""
        return np.asarray(values * self.scale + self.zero, np.float32)


def read(path: Path, *, key: str | None = None, gain: float = 1.0, offset: float = 0.0) -> list[np.ndarray]:
    """Read the sequences in a file, or in all .npz and .npy files of a folder.

    A file with (T, H, W) is a sequence; files with one frame (H, W) are together one sequence, in
    the order of their names.

    Args:
        path: the file or the folder.
        key: name of the array in .npz files; not needed if it is ``frames`` or the only one.
        gain: what one step of the stored numbers means.
        offset: what the stored number 0 means.

    Returns:
        Sequences (T, H, W), float32, stored * gain + offset.

    Raises:
        FileNotFoundError: there is no such file or folder, or no array file in it.
        ValueError: a file holds something else, or images of another size.
    """
    files = sorted(each for each in path.iterdir() if each.suffix in (".npz", ".npy")) if path.is_dir() else [path]
    if not files:
        raise FileNotFoundError(f"{path} expected to hold .npz or .npy files, found none")
    sequences: list[np.ndarray] = []
    single: list[np.ndarray] = []
    for file in files:
        array = _array(file, key)
        if array.ndim not in (2, 3) or 0 in array.shape or array.dtype.kind not in "uif":
            raise ValueError(f"{file} expected numbers (H, W) or (T, H, W), got {array.dtype} of shape {array.shape}")
        if (first := (sequences + single or [array])[0]).shape[-2:] != array.shape[-2:]:
            raise ValueError(f"{file} expected images of {first.shape[-2:]} as in {files[0]}, got {array.shape[-2:]}")
        (sequences if array.ndim == 3 else single).append(array.astype(np.float32) * gain + offset)
    return sequences + ([np.stack(single)] if single else [])


def cut(sequences: Sequence[np.ndarray], length: int) -> np.ndarray:
    """Cut sequences (T, H, W) into all their windows (N, length, H, W), which overlap.

    Sequences that are shorter are left out. Raises ValueError if all are.
    """
    starts = [(sequence, start) for sequence in sequences for start in range(len(sequence) - length + 1)]
    if not starts:
        lengths = [len(sequence) for sequence in sequences]
        raise ValueError(f"cut expected a sequence of at least {length} frames, got lengths {lengths}")
    return np.stack([sequence[start : start + length] for sequence, start in starts])


def _array(file: Path, key: str | None) -> np.ndarray:
    """The array of frames in one file."""
    try:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded as archive:
            names = archive.files
            name = key or ("frames" if "frames" in names or len(names) != 1 else names[0])
            if name in names:
                return np.asarray(archive[name])
    except (ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise ValueError(f"{file} expected an array as numpy.save or numpy.savez writes it: {error}") from None
    raise ValueError(f"{file} expected an array {name!r}, found {', '.join(names) or 'none'}: key names another")
