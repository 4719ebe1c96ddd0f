"""Convert checkpoints, and verify the result before it takes its name.

The target is a temporary file until it was read back, and source and target ran alike.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convgru import files, importers, inspection, registry
from convgru.cli import verification
from convgru.errors import UsageError, WeightsError
from convgru.formats import atomic
from convgru.weights import Weights


@dataclass(frozen=True)
class Target:
    """What ``--to`` selects: suffix of the files, their layout, the framework that runs them."""

    suffix: str
    layout: str | None = None
    """None is convgru's own."""
    framework: str | None = None


TARGETS: dict[str, Target] = {
    "torch": Target(".pt", framework="torch"),
    "jax": Target(".safetensors", framework="jax"),
    "flax": Target(".msgpack", framework="flax"),
    "mindspore": Target(".ckpt", framework="mindspore"),
    **{name: Target(each.suffix, name) for name, each in importers.LAYOUTS.items() if each.can_export},
    **{name: Target(suffix, name) for name, suffix in importers.EXPORTS.items()},
}
"""Targets by name: the four frameworks, and every other system that can be written."""


@dataclass(frozen=True)
class Source:
    """How a file is read: arguments of ``convgru.read``."""

    layout: str | None = None
    prefix: str | None = None
    hints: Mapping[str, Any] = field(default_factory=dict)

    def survey(self, path: Path) -> inspection.Survey:
        """List the networks in a file. Raises WeightsError, with the command line's advice."""
        try:
            return inspection.inspect(path, self.layout, prefix=self.prefix, **self.hints)
        except WeightsError as error:
            advice = str(error).replace(importers.specless.ADVICE, importers.specless.ADVICE_OF_COMMANDS)
            raise WeightsError(advice) from None

    def read(self, path: Path) -> tuple[Weights, Mapping[str, Any]]:
        """Return the weights in a file, and the assumed arguments. Raises WeightsError."""
        survey = self.survey(path)
        if survey.weights is None:
            raise WeightsError(f"{path}: {survey.ambiguity}")
        return survey.weights, survey.chosen.assumed if survey.chosen else {}


@dataclass(frozen=True)
class Result:
    """Result of converting one file: weights and verification, or the error, or "kept".

    It is kept if the target existed.
    """

    source: Path
    target: Path
    weights: Weights | None = None
    lines: tuple[str, ...] = ()
    error: str = ""
    kept: bool = False


def convert(source: Path, target: Path, how: Source, to: str | None = None, *, force: bool = False) -> Result:
    """Convert one file and verify it.

    Raises UsageError if the target cannot be such a file; WeightsError, leaving no file, if the
    result differs from the source; FileExistsError, leaving the file as it is, if the target
    exists, unless ``force``.
    """
    if to is None and target.name.lower().endswith(TARGETS["keras"].suffix):  # Keras' alone
        to = "keras"
    wanted = TARGETS[to] if to else Target(target.suffix)
    try:  # said here: below it would be said of a temporary file
        writer = files.backend_of(target, wanted.layout)
    except WeightsError as error:
        raise UsageError(str(error)) from None
    owner = None if wanted.layout else writer
    if wanted.framework and owner not in (None, wanted.framework):
        names = registry.FRAMEWORKS
        raise UsageError(f"{target}: a file of {names[owner]}, not of {names[wanted.framework]}")
    if not target.parent.is_dir():
        raise WeightsError(f"{target}: there is no folder {target.parent}")
    if os.path.lexists(target) and not force:
        raise FileExistsError(f"{target} exists: --force replaces it")
    weights, assumed = how.read(source)
    with atomic.replacing(target, overwrite=force) as temporary:
        files.write(weights, temporary, wanted.layout)
        back = files.read(temporary, wanted.layout, spec=weights.spec)
        lines = verification.verify(weights, back, wanted.framework or owner)
    if assumed:
        lines.append(f"{source.name} does not say everything: {inspection.assumption(assumed)}")
    return Result(source, target, weights, tuple(lines))


def attempt(source: Path, target: Path, how: Source, to: str | None = None, *, force: bool = False) -> Result:
    """Convert one file of many: return a failure in ``error``, an existing target in ``kept``."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return convert(source, target, how, to, force=force)
    except FileExistsError:
        return Result(source, target, kept=True)
    except (ValueError, TypeError, OSError, ImportError) as error:
        return Result(source, target, error=str(error))


def pairs_in(source: Path, target: Path, to: str | None) -> list[tuple[Path, Path]]:
    """Pair each checkpoint below a folder with the file that it is converted to.

    Checkpoints below ``target`` are left out.

    Where two checkpoints of a folder have the same stem (``a.h5`` and ``a.keras``), their files
    keep the old suffix in the name, so that no two conversions write the same file. Raises
    WeightsError if there is no checkpoint.
    """
    suffix = TARGETS[to].suffix if to else ".safetensors"
    inside = target.resolve() != source.resolve() and target.resolve().is_relative_to(source.resolve())
    sources = [
        path for path in _checkpoints(source) if not (inside and path.resolve().is_relative_to(target.resolve()))
    ]
    if not sources:
        raise WeightsError(f"{source}: expected checkpoints with a suffix of {', '.join(files.SUFFIXES)}, found none")
    stems = [path.with_name(_stem(path)) for path in sources]
    names = [path.name if stems.count(stem) > 1 else stem.name for path, stem in zip(sources, stems, strict=True)]
    places = [path.relative_to(source).with_name(name) for path, name in zip(sources, names, strict=True)]
    if len(set(places)) < len(places):  # a.npz.h5 beside a.npz and a.pt
        places = [path.relative_to(source) for path in sources]
    return [(path, target / f"{place}{suffix}") for path, place in zip(sources, places, strict=True)]


def is_checkpoint(path: Path) -> bool:
    """Whether a file, or a folder of orbax, is one checkpoint."""
    if path.is_dir():
        return any((path / mark).exists() for mark in files.ORBAX)
    return path.is_file() and path.suffix.lower() in files.SUFFIXES and not path.name.startswith(".")


def _checkpoints(folder: Path) -> Iterator[Path]:
    """Yield every checkpoint below a folder; an orbax folder is one checkpoint."""
    for path in sorted(folder.iterdir()):
        if is_checkpoint(path):
            yield path
        elif path.is_dir() and not path.is_symlink():
            yield from _checkpoints(path)


def _stem(path: Path) -> str:
    """A file's name without its suffix, which may have two parts."""
    name = path.name if path.is_dir() else path.stem
    return name.removesuffix(".weights").removesuffix(".pth")
