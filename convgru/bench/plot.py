"""A picture of a report: how many times the floor each contestant takes. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path

from convgru.bench import machine
from convgru.bench.contest import FLOOR
from convgru.bench.report import Report
from convgru.formats import atomic


def require() -> None:
    """Raise ImportError, with the command that installs it, if matplotlib is missing."""
    if not machine.installed("matplotlib"):
        raise ImportError("--plot needs matplotlib: pip install 'convgru[demo]'")


def draw(report: Report, path: Path, *, overwrite: bool = False) -> None:
    """Write a PNG. FileExistsError if there is such a file, unless ``overwrite``."""
    require()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    timed = [row for row in report.rows if row.samples and row.contestant != FLOOR and report.find(row, FLOOR)]
    contests = list(dict.fromkeys(row.contest for row in timed))
    names = list(dict.fromkeys(row.contestant for row in timed))
    figure = Figure(figsize=(8, 1.5 + 0.16 * max(1, len(contests)) * (len(names) + 1)), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    height = 0.8 / max(1, len(names))
    for index, name in enumerate(names):
        bars = [(contests.index(row.contest), report.ratio(row, FLOOR)) for row in timed if row.contestant == name]
        places = [place + height * (index - (len(names) - 1) / 2) for place, _ in bars]
        axis.barh(places, [ratio or 0.0 for _, ratio in bars], height, label=name)
    axis.axvline(1, color="0.3", lw=1)
    axis.set(yticks=range(len(contests)), yticklabels=[" ".join(contest) for contest in contests])
    axis.set(xscale="log", xlabel="time / time of the convolutions alone")
    axis.invert_yaxis()
    if names:
        axis.legend()
    with atomic.replacing(path, overwrite=overwrite) as part:
        figure.savefig(part, format="png", dpi=90)
