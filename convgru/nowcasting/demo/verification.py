"""How good the demo's forecasts are beside their rivals, and how much frameworks differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from convgru import registry
from convgru.nowcasting.demo import data
from convgru.nowcasting.skill import Scores
from convgru.parity.report import Report

RIVALS = ("persistence", "extrapolation")
SHARE, SHARE_UNTIL = 0.9, 30
"""CSI at the lower threshold should be this share of extrapolation's, to so many minutes."""
ABOVE_UNTIL = 45
"""It should be above persistence's to so many minutes."""


@dataclass(frozen=True)
class Verification:
    """Scores of the rivals and of each framework, and the frameworks' largest difference in dBZ."""

    scores: Scores
    spread: float

    @property
    def frameworks(self) -> list[str]:
        """Whose forecasts are scored beside the rivals'."""
        return [name for name in self.scores.mse if name not in RIVALS]

    def problems(self) -> list[str]:
        """Sentences on what is not as good as it should be; none for a good forecast."""
        lower = data.UNITS.thresholds[0]
        mse, csi = self.scores.mse, {name: np.nan_to_num(c) for name, c in self.scores.csi[lower].items()}
        minutes = data.UNITS.minutes * np.arange(1, len(mse["persistence"]) + 1)
        sentences = []
        for name in self.frameworks:
            checks = {
                "mean squared error is not below extrapolation's": mse[name] >= mse["extrapolation"],
                f"CSI ≥ {lower:g} is not above persistence's": (minutes <= ABOVE_UNTIL)
                & (csi[name] <= csi["persistence"]),
                f"CSI ≥ {lower:g} is below {SHARE} of extrapolation's": (minutes <= SHARE_UNTIL)
                & (csi[name] < SHARE * csi["extrapolation"]),
            }
            for what, wrong in checks.items():
                if wrong.any():
                    at = ", ".join(f"{minute:g}" for minute in minutes[wrong])
                    sentences.append(f"{registry.FRAMEWORKS[name]}: {what} at {at} min")
        return sentences

    @property
    def good(self) -> bool:
        """Whether no framework's forecast has a problem."""
        return not self.problems()


def summary(verification: Verification, report: Report) -> dict[str, Any]:
    """The figures as plain data."""
    scores = verification.scores
    steps = len(scores.mse["persistence"])
    return {
        "lead_minutes": [data.UNITS.minutes * (i + 1) for i in range(steps)],
        "mse": {name: curve.tolist() for name, curve in scores.mse.items()},
        "csi": {str(t): {n: np.nan_to_num(c).tolist() for n, c in each.items()} for t, each in scores.csi.items()},
        "spread_dbz": verification.spread,
        "good": verification.good,
        "agreement": [
            {"backend": r.backend, "quantity": r.quantity, "error": r.error, "budget": r.budget, "ratio": r.ratio}
            for r in report.rows
        ],
        "versions": report.versions,
    }


def print_skill(console: Console, verification: Verification) -> None:
    """Print the scores of one framework (the others' are the same to the digits shown)."""
    first, scores = verification.frameworks[0], verification.scores
    table = Table(
        title=f"Skill on {data.TEST_DAY}, trained on {data.TRAINING_DAY}: forecast / extrapolation / persistence",
        caption="ratio: the forecast's MSE over extrapolation's",
    )
    for title in ("min", "MSE \\[dBZ²]", "ratio"):
        table.add_column(title, justify="right", no_wrap=True)
    for threshold in scores.csi:
        table.add_column(f"CSI ≥ {threshold:g} dBZ", justify="right", no_wrap=True)
    names = (first, *RIVALS[::-1])
    for index in range(len(scores.mse[first])):
        cells = [" / ".join(f"{scores.mse[name][index]:.1f}" for name in names)]
        cells.append(f"{scores.mse[first][index] / scores.mse['extrapolation'][index]:.2f}")
        cells += [" / ".join(f"{each[name][index]:.2f}" for name in names) for each in scores.csi.values()]
        table.add_row(f"{data.UNITS.minutes * (index + 1):g}", *cells)
    console.print(table)


def print_agreement(console: Console, report: Report, spread: float) -> None:
    """Print the frameworks' distance to the reference, and their largest difference."""
    table = Table(title="Agreement with the float64 reference, float32, one forecast of an hour")
    for column in ("framework", "quantity", "error", "budget", "achieved/budget", ""):
        table.add_column(column)
    for row in report.rows:
        verdict = "[green]ok[/]" if row.ok else "[red]misses[/]"
        cells = (row.quantity, f"{row.error:.2e}", f"{row.budget:.2e}", f"{row.ratio:.2f}", verdict)
        table.add_row(registry.FRAMEWORKS[row.backend], *cells)
    console.print(table)
    console.print(f"largest difference between any two frameworks' forecasts: {spread:.2g} dBZ")
