"""The demo from beginning to end, as a user would write it, with tables and progress."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from convgru import files, parity, registry
from convgru.formats import atomic
from convgru.nowcasting import lagrangian, pictures, skill, training
from convgru.nowcasting.demo import data
from convgru.nowcasting.demo.verification import Verification, print_agreement, print_skill, summary
from convgru.nowcasting.frames import cut
from convgru.parity.report import Report
from convgru.weights import Weights

LEADS = (3, 6, 12)
"""Lead times of the picture, in frames: 15, 30 and 60 minutes."""
COMPARED = 48
"""Edge, in pixels, of the part on which the float64 reference runs."""


def run(
    console: Console, folder: Path, *, source: Path | None = None, steps: int, seed: int, force: bool = False
) -> tuple[bool, dict[str, Any]]:
    """Train in PyTorch, forecast in every framework, print skill and agreement.

    The weights, a picture and an animation are written.

    Returns whether every framework is within budget of the reference and the forecast is good, and
    the figures as plain data. Without matplotlib there are no pictures, and the output says so.
    Raises FileExistsError, before anything is computed, if a file that would be written exists,
    unless ``force``; FileNotFoundError if ``source`` has no radar.
    """
    path, strip, animation = (folder / name for name in ("nowcaster.safetensors", "nowcast.png", "nowcast.gif"))
    for each in (path, strip, animation):
        if os.path.lexists(each) and not force:
            raise FileExistsError(f"{each} exists: --force replaces it")
    days = [data.load(day, source) for day in (data.TRAINING_DAY, data.TEST_DAY)]
    folder.mkdir(parents=True, exist_ok=True)
    for name, reason in missing().items():
        console.print(f"[yellow]left out:[/] {name} ({escape(reason)})")
    trained = _train(console, days[0], steps, seed)
    with atomic.replacing(path, overwrite=force) as temporary:
        files.write(trained, temporary)
    console.print(f"wrote {path}")

    weights = files.read(path)
    windows = cut([days[1]], training.GIVEN + training.AHEAD)
    given, truth = windows[:, : training.GIVEN], windows[:, training.GIVEN :]
    motion = lagrangian.motions(given)
    forecasts = _forecasts(console, weights, given, motion)
    verification = verify(given, truth, motion, forecasts)
    print_skill(console, verification)
    with console.status("float64 reference and its conditioning …"):
        report = _compare(weights, given[0], list(forecasts))
    print_agreement(console, report, verification.spread)

    if pictures.available():
        shown = _shown(given, truth, motion, forecasts)
        pictures.draw_strip(strip, shown, _one_framework(verification), LEADS, overwrite=force)
        pictures.animate(animation, shown, overwrite=force)
        console.print(f"wrote {strip} and {animation}\n{data.CREDIT}")
    else:
        console.print("[yellow]no picture:[/] it needs matplotlib: pip install 'convgru\\[demo]'", soft_wrap=True)
    for failure in (*report.failures(), *verification.problems()):
        console.print(f"[red]{escape(failure)}[/]")
    return report.ok and verification.good, summary(verification, report)


def missing() -> dict[str, str]:
    """Map each framework that cannot be imported to the reason and the install command."""
    return {name: backend for name, backend in registry.available().items() if isinstance(backend, str)}


def verify(given: np.ndarray, truth: np.ndarray, motion: np.ndarray, forecasts: dict[str, np.ndarray]) -> Verification:
    """Score every forecast, and its rivals, against the truth; all (N, T, H, W) in dBZ."""
    rivals = {
        "persistence": skill.persistence(given, truth.shape[1]),
        "extrapolation": lagrangian.extrapolate(given, truth.shape[1], motion),
    }
    several = np.stack(list(forecasts.values()))
    return Verification(skill.score(rivals | forecasts, truth, data.UNITS.thresholds), float(np.ptp(several, 0).max()))


def _train(console: Console, day: np.ndarray, steps: int, seed: int) -> Weights:
    """Train in PyTorch, the one framework that the demo cannot do without."""
    columns = (TextColumn("training in PyTorch"), BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    start = time.monotonic()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("estimating motion", total=steps)

        def show(step: int, loss: float) -> None:
            progress.update(task, completed=step, description=f"step {step} of {steps}, loss {loss:.4f}")

        trained = training.train(
            training.nowcaster(),
            cut([day], training.GIVEN + training.TRAINED),
            training.GIVEN,
            data.UNITS,
            steps=steps,
            seed=seed,
            report=show,
        )
    console.print(f"trained for {steps} steps in {time.monotonic() - start:.0f} s")
    return trained


def _forecasts(console: Console, weights: Weights, given: np.ndarray, motion: np.ndarray) -> dict[str, np.ndarray]:
    """Forecast with the same weights in every installed framework: (N, T, H, W) in dBZ."""
    forecasts: dict[str, np.ndarray] = {}
    installed = [name for name, backend in registry.available().items() if not isinstance(backend, str)]
    columns = (TextColumn("forecasting in {task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=len(installed))
        for name in installed:
            progress.update(task, description=registry.FRAMEWORKS[name])
            forecasts[name] = training.forecast(weights, name, given, training.AHEAD, data.UNITS, motion)
            progress.advance(task)
        progress.update(task, description="all frameworks")
    return forecasts


def _compare(weights: Weights, given: np.ndarray, backends: list[str]) -> Report:
    """Compare with the reference, on the middle of one window of given frames (T, H, W)."""
    corner = [max(0, (size - COMPARED) // 2) for size in given.shape[1:]]
    middle = given[:, corner[0] : corner[0] + COMPARED, corner[1] : corner[1] + COMPARED]
    x = data.UNITS.scaled(middle)[:, None, None]
    return parity.compare(weights, x, steps=training.AHEAD, backends=backends, gradients=False)


def _shown(
    given: np.ndarray, truth: np.ndarray, motion: np.ndarray, forecasts: dict[str, np.ndarray]
) -> pictures.Shown:
    """The first window, with the forecast of the first framework, for the pictures."""
    name, frames = next(iter(forecasts.items()))
    ahead = lagrangian.extrapolate(given[:1], truth.shape[1], motion[:1])[0]
    spread = float(np.ptp(np.stack(list(forecasts.values())), 0).max())
    others = ", ".join(registry.FRAMEWORKS[each] for each in forecasts if each != name)
    title = f"Radar of {data.TEST_DAY[:4]}-{data.TEST_DAY[4:6]}-{data.TEST_DAY[6:]}, forecast by {registry.FRAMEWORKS[name]}"
    title += f"; {others} differ by {spread:.1e} dBZ at most" if others else ""
    return pictures.Shown(given[0], truth[0], ahead, frames[0], motion[0], data.UNITS, title, data.CREDIT)


def _one_framework(verification: Verification) -> skill.Scores:
    """The scores of the rivals, and of the first framework under the name ``forecast``."""
    names = {"persistence": "persistence", "extrapolation": "extrapolation", verification.frameworks[0]: "forecast"}
    scores = verification.scores
    return skill.Scores(
        {new: scores.mse[old] for old, new in names.items()},
        {limit: {new: each[old] for old, new in names.items()} for limit, each in scores.csi.items()},
    )
