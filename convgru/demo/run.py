"""The demo from beginning to end, as a user would write it, with tables and progress."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from convgru import files, parity, registry
from convgru.demo import data, plot, skill
from convgru.formats import atomic
from convgru.parity.report import Report
from convgru.spec import ForecasterSpec, forecaster
from convgru.weights import Weights

SHOWN = 6
"""Lead time of the picture and of the headline, in frames: 30 minutes."""
FACTOR = 0.7
"""At that lead time the error should be at most this much of persistence's."""


def nowcaster() -> ForecasterSpec:
    """The demo's network: patches of 4x4 pixels, two ConvGRU layers of 24 channels, residual."""
    return forecaster("gru", channels=1, hidden_channels=[24, 24], kernel_size=3, patch=4)


@dataclass(frozen=True)
class Verification:
    """Skill of the forecasts by lead time, and the largest difference between two frameworks."""

    errors: dict[str, np.ndarray]
    csi: dict[float, dict[str, np.ndarray]]
    spread: float

    @property
    def ratio(self) -> np.ndarray:
        """Worst framework's error over persistence's, by lead time."""
        curves = [curve for name, curve in self.errors.items() if name != "persistence"]
        return np.asarray(np.max(curves, axis=0) / self.errors["persistence"])

    @property
    def good(self) -> bool:
        """Whether persistence is beaten at every lead time, and clearly after half an hour."""
        return bool((self.ratio < 1).all() and self.ratio[SHOWN - 1] <= FACTOR)


def run(
    console: Console, folder: Path, *, seconds: float, seed: int, force: bool = False
) -> tuple[bool, dict[str, Any]]:
    """Train in PyTorch, forecast in every framework, print skill and agreement.

    The weights and a picture are written.

    Returns whether every framework is within budget of the reference and persistence is beaten, and
    the figures as plain data. Without matplotlib there is no picture, and the output says so.
    Raises FileExistsError, before anything is computed, if a file that would be written exists,
    unless ``force``.
    """
    path, picture = folder / "nowcaster.safetensors", folder / "nowcast.png"
    for each in (path, picture):
        if os.path.lexists(each) and not force:
            raise FileExistsError(f"{each} exists: --force replaces it")
    folder.mkdir(parents=True, exist_ok=True)
    for name, reason in missing().items():
        console.print(f"[yellow]left out:[/] {name} ({escape(reason)})")
    trained = _train(console, seconds, seed)
    with atomic.replacing(path, overwrite=force) as temporary:
        files.write(trained, temporary)
    console.print(f"wrote {path}")

    weights = files.read(path)
    given, truth = data.windows(data.load(data.TEST_DAY))
    forecasts = _forecasts(console, weights, given)
    verification = verify(given, truth, forecasts)
    _print_skill(console, verification)
    with console.status("float64 reference and its conditioning …"):
        x = given[:, :1] / data.SCALE
        report = parity.compare(weights, x, steps=data.AHEAD, backends=list(forecasts), gradients=False)
    _print_agreement(console, report, verification.spread)

    if plot.available():
        shown = {registry.FRAMEWORKS[name]: frames[SHOWN - 1, 0, 0] for name, frames in forecasts.items()}
        curves = {registry.FRAMEWORKS.get(name, name): curve for name, curve in verification.errors.items()}
        plot.draw(picture, given[-1, 0, 0], truth[SHOWN - 1, 0, 0], shown, curves, SHOWN, overwrite=force)
        console.print(f"wrote {picture}\n{data.CREDIT}")
    else:
        console.print("[yellow]no picture:[/] it needs matplotlib: pip install 'convgru\\[demo]'", soft_wrap=True)
    for failure in report.failures():
        console.print(f"[red]{failure}[/]")
    if not verification.good:
        console.print(f"[red]error over persistence, by lead time: {np.round(verification.ratio, 2).tolist()}[/]")
    return report.ok and verification.good, summary(verification, report)


def missing() -> dict[str, str]:
    """Map each framework that cannot be imported to the reason and the install command."""
    return {name: backend for name, backend in registry.available().items() if isinstance(backend, str)}


def verify(given: np.ndarray, truth: np.ndarray, forecasts: Mapping[str, np.ndarray]) -> Verification:
    """Score every forecast, and persistence, against the truth; all (T, B, 1, H, W) in dBZ."""
    rivals = {"persistence": skill.persistence(given, len(truth)), **forecasts}
    errors = {name: skill.mse(frames, truth) for name, frames in rivals.items()}
    csi = {t: {name: skill.csi(frames, truth, t) for name, frames in rivals.items()} for t in skill.THRESHOLDS}
    several = list(forecasts.values())
    spread = max(float(np.abs(frames - several[0]).max()) for frames in several)
    return Verification(errors, csi, spread)


def summary(verification: Verification, report: Report) -> dict[str, Any]:
    """The figures as plain data."""
    return {
        "lead_minutes": [data.MINUTES * (i + 1) for i in range(data.AHEAD)],
        "mse": {name: curve.tolist() for name, curve in verification.errors.items()},
        "csi": {
            str(t): {n: np.nan_to_num(c).tolist() for n, c in each.items()} for t, each in verification.csi.items()
        },
        "spread_dbz": verification.spread,
        "good": verification.good,
        "agreement": [
            {"backend": r.backend, "quantity": r.quantity, "error": r.error, "budget": r.budget, "ratio": r.ratio}
            for r in report.rows
        ],
        "versions": report.versions,
    }


def _train(console: Console, seconds: float, seed: int) -> Weights:
    """Train in PyTorch, the one framework that the demo cannot do without."""
    training = registry.room("torch", "nowcast")
    frames = data.load(data.TRAINING_DAY) / data.SCALE
    columns = (TextColumn("training in PyTorch"), BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=1.0)

        def show(done: float, steps: int, loss: float) -> None:
            progress.update(task, completed=done, description=f"step {steps}, loss {loss * data.SCALE**2:.1f} dBZ²")

        trained = training.train(nowcaster(), frames, data.GIVEN, seconds=seconds, seed=seed, report=show)
    assert isinstance(trained, Weights)
    return trained


def _forecasts(console: Console, weights: Weights, given: np.ndarray) -> dict[str, np.ndarray]:
    """Forecast with the same weights in every installed framework: (T, B, 1, H, W) in dBZ."""
    forecasts: dict[str, np.ndarray] = {}
    installed = {name: b for name, b in registry.available().items() if not isinstance(b, str)}
    columns = (TextColumn("forecasting in {task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=len(installed))
        for name, backend in installed.items():
            progress.update(task, description=registry.FRAMEWORKS[name])
            frames, _, _ = backend.execute(weights, given / data.SCALE, steps=data.AHEAD)
            forecasts[name] = frames * data.SCALE
            progress.advance(task)
        progress.update(task, description="all frameworks")
    return forecasts


def _print_skill(console: Console, verification: Verification) -> None:
    first = next(name for name in verification.errors if name != "persistence")
    table = Table(title=f"Skill on {data.TEST_DAY}, a day not seen in training (forecast / persistence)")
    table.add_column("lead [min]", justify="right")
    table.add_column("MSE [dBZ²]", justify="right")
    table.add_column("ratio", justify="right")
    for threshold in verification.csi:
        table.add_column(f"CSI ≥ {threshold:g} dBZ", justify="right")
    for index, ratio in enumerate(verification.ratio):
        cells = [
            f"{verification.errors[first][index]:.1f} / {verification.errors['persistence'][index]:.1f}",
            f"{ratio:.2f}",
        ]
        cells += [f"{each[first][index]:.2f} / {each['persistence'][index]:.2f}" for each in verification.csi.values()]
        table.add_row(str((index + 1) * data.MINUTES), *cells)
    console.print(table)


def _print_agreement(console: Console, report: Report, spread: float) -> None:
    table = Table(title="Agreement with the float64 reference, float32, one forecast of an hour")
    for column in ("framework", "quantity", "error", "budget", "achieved/budget", ""):
        table.add_column(column)
    for row in report.rows:
        verdict = "[green]ok[/]" if row.ok else "[red]misses[/]"
        cells = (row.quantity, f"{row.error:.2e}", f"{row.budget:.2e}", f"{row.ratio:.2f}", verdict)
        table.add_row(registry.FRAMEWORKS[row.backend], *cells)
    console.print(table)
    console.print(f"largest difference between any two frameworks' forecasts: {spread:.2g} dBZ")
