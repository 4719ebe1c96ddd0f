"""Pictures of a forecast: a strip beside the truth and the extrapolation, and an animation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from convgru.formats import atomic
from convgru.nowcasting import skill
from convgru.nowcasting.frames import Units
from convgru.nowcasting.motion import inside
from convgru.nowcasting.skill import Scores

COLOURS = ("#d4e6f7", "#a9cdee", "#7fb6d9", "#79b36b", "#a39a2d", "#c1792b", "#bb4a3f", "#98285a", "#6a1763", "#360d4e")
"""From weak to strong, in radar's order of hues; lightness falls evenly, so that steps look equal
and the order survives without colour."""
PAPER, UNKNOWN = "#f7f7f4", "#d9d9d3"
LINES = {"truth": "#222222", "persistence": "#9a9a9a", "extrapolation": "#3b78b5", "forecast": "#b3315a"}


@dataclass(frozen=True)
class Shown:
    """What the pictures show: one window in the units of its frames.

    Args:
        given: (T, H, W), up to now.
        truth: (K, H, W), what came then; None if nobody knows yet.
        extrapolation: (K, H, W).
        forecast: (K, H, W).
        motion: (2, H, W), pixels per frame.
        units: of the frames.
        title: what the frames are.
        credit: whose the frames are.
    """

    given: np.ndarray
    truth: np.ndarray | None
    extrapolation: np.ndarray
    forecast: np.ndarray
    motion: np.ndarray
    units: Units
    title: str = ""
    credit: str = ""

    @property
    def rows(self) -> dict[str, np.ndarray]:
        """The sequences that the pictures compare, by name."""
        rows = {"extrapolation": self.extrapolation, "forecast": self.forecast}
        return rows if self.truth is None else {"truth": self.truth, **rows}

    def visible(self, name: str, lead: int) -> np.ndarray:
        """The frame of a row at a lead time, NaN where it shows what flowed in from outside."""
        frame: np.ndarray = self.rows[name][lead - 1]
        if name == "truth":
            return frame
        return np.asarray(np.where(inside(self.motion, lead)[-1], frame, np.float32(np.nan)))


def available() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def draw_strip(path: Path, shown: Shown, scores: Scores | None, leads: Sequence[int], *, overwrite: bool) -> None:
    """Write a PNG: a row for each sequence, a column for each of ``leads`` (in frames).

    The first column holds the last given frame with its motion and, if there are scores of the
    forecasts called persistence, extrapolation and forecast, their curves. FileExistsError if there
    is such a file, unless ``overwrite``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, columns = shown.rows, len(leads) + 1
    height, width = shown.given.shape[1:]
    figure = Figure(figsize=(2.45 * columns + 0.9, 2.62 * len(rows) * height / width + 0.75), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    image = _show(axes[0, 0], shown.given[-1], shown.units)
    axes[0, 0].set_title("last frame given, and its motion", fontsize=9)
    _arrows(axes[0, 0], shown.motion)
    for axis, curves in zip_longest(axes[1:, 0], _curves(scores, shown.units)):
        if curves is None:
            axis.set_axis_off()
        elif axis is not None:
            title, lines = curves
            _plot(axis, title, lines, shown.units)
    for row, name in enumerate(rows):
        for column, lead in enumerate(leads, start=1):
            _show(axes[row, column], shown.visible(name, lead), shown.units)
            axes[row, column].set_title(_title(shown, name, lead), fontsize=9, color=LINES[name])
    figure.colorbar(image, ax=axes, label=shown.units.name, shrink=0.6, pad=0.012, extend="max")
    if shown.title:
        figure.suptitle(shown.title, fontsize=11)
    _credit(figure, f"grey: flows in from outside   {shown.credit}")
    with atomic.replacing(path, overwrite=overwrite) as part:
        figure.savefig(part, format="png", dpi=110, facecolor="white")
        _shrink(part)


def animate(path: Path, shown: Shown, *, overwrite: bool) -> None:
    """Write a GIF: the given frames, then every sequence side by side, frame by frame.

    FileExistsError if there is such a file, unless ``overwrite``.
    """
    from matplotlib.animation import FuncAnimation, PillowWriter
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, minutes = shown.rows, shown.units.minutes
    height, width = shown.given.shape[1:]
    figure = Figure(figsize=(3.5 * len(rows) + 0.7, 3.5 * height / width + 0.75), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(rows), squeeze=False)[0]
    images = [_show(axis, shown.given[0], shown.units) for axis in axes]
    figure.colorbar(images[0], ax=axes, label=shown.units.name, shrink=0.85, pad=0.012, extend="max")
    clock = figure.suptitle("", fontsize=11)
    _credit(figure, shown.credit)
    given, total = len(shown.given), len(shown.given) + len(shown.forecast)

    def update(index: int) -> list[Any]:
        lead = index - given + 1
        clock.set_text(f"given, {minutes * lead:+.0f} min" if lead <= 0 else f"forecast, {minutes * lead:+.0f} min")
        for axis, artist, name in zip(axes, images, rows, strict=True):
            axis.set_title(name, fontsize=10, color=LINES[name])
            artist.set_data(_masked(shown.given[index] if lead <= 0 else shown.visible(name, lead), shown.units))
        return images

    order = [*range(total), *[total - 1] * 3]  # the last one stays for a while
    with atomic.replacing(path, overwrite=overwrite) as part:
        FuncAnimation(figure, update, frames=order, blit=False).save(part, writer=PillowWriter(fps=4), dpi=72)


def levels(units: Units) -> np.ndarray:
    """Edges of the colours: for dBZ every 5 from 5 on, else the like on the units' own scale."""
    step = units.scale / 8
    return units.zero + step * np.arange(1, len(COLOURS) + 2)


def _palette(units: Units) -> tuple[Any, Any]:
    """Colour map and norm: one colour for each interval of ``levels``, paper below."""
    from matplotlib.colors import BoundaryNorm, ListedColormap

    colours = ListedColormap(list(COLOURS[:-1]), "echoes").with_extremes(bad=UNKNOWN, under=PAPER, over=COLOURS[-1])
    return colours, BoundaryNorm(levels(units)[: len(COLOURS)], len(COLOURS) - 1)


def _masked(frame: np.ndarray, units: Units) -> np.ma.MaskedArray:
    """Mask what is not known, which is grey; echoes too weak for a colour are paper."""
    return np.ma.masked_invalid(frame)


def _show(axis: Any, frame: np.ndarray, units: Units) -> Any:
    """Draw one frame, without ticks."""
    colours, norm = _palette(units)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_color("0.75")
    return axis.imshow(_masked(frame, units), cmap=colours, norm=norm, interpolation="nearest")


def _arrows(axis: Any, motion: np.ndarray) -> None:
    """Draw the motion: each arrow is as long as the way of an echo in twelve frames."""
    height, width = motion.shape[1:]
    rows, columns = (np.linspace(0, size - 1, 9)[1:-1:2].astype(int) for size in (height, width))
    down, right = motion[:, rows[:, None], columns]
    style = {"angles": "xy", "scale_units": "xy", "scale": 1 / 12, "width": 0.008, "headwidth": 4}
    axis.quiver(columns, rows, right, down, color="0.1", **style)


def _curves(scores: Scores | None, units: Units) -> list[tuple[str, Mapping[str, np.ndarray]]]:
    """What is plotted below the last frame: squared error, and CSI at the lowest threshold."""
    if scores is None:
        return []
    limit, csi = next(iter(scores.csi.items()))
    return [(f"mean squared error [{units.name}²]", scores.mse), (f"CSI ≥ {limit:g} {units.name}", csi)]


def _plot(axis: Any, title: str, curves: Mapping[str, np.ndarray], units: Units) -> None:
    """Plot one score by lead time."""
    for name, curve in curves.items():
        axis.plot(units.minutes * np.arange(1, len(curve) + 1), curve, color=LINES.get(name), label=name, lw=1.6)
    axis.set_title(title, fontsize=9)
    axis.set_box_aspect(0.82)
    axis.set(ylim=(0, None), xlim=(0, None))
    axis.set_xlabel("lead time [min]", fontsize=8, labelpad=1)
    axis.tick_params(labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7, frameon=False)


def _title(shown: Shown, name: str, lead: int) -> str:
    """A panel's title: what, when, and how good this frame is."""
    text = f"{name}, {shown.units.minutes * lead:+.0f} min"
    if shown.truth is None or name == "truth":
        return text
    frame, truth = shown.rows[name][None, lead - 1 : lead], shown.truth[None, lead - 1 : lead]
    event = skill.csi(frame, truth, shown.units.thresholds[0])[0]
    return f"{text}\nMSE {skill.mse(frame, truth)[0]:.3g} {shown.units.name}², CSI {event:.2f}"


def _credit(figure: Any, text: str) -> None:
    if text:
        figure.text(0.995, 0.004, text, ha="right", va="bottom", fontsize=6.5, color="0.45")
        figure.get_layout_engine().set(rect=(0, 0.02, 1, 0.98))


def _shrink(path: Path) -> None:
    """Keep 256 colours of a PNG: half the size, and nobody sees it."""
    from PIL import Image

    with Image.open(path) as image:
        small = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(path, format="png", optimize=True)
