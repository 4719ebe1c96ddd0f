"""The demo's picture: last frame, truth, every framework's forecast, and the error by lead time."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from convgru.demo.data import CREDIT, MINUTES
from convgru.formats import atomic


def available() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def draw(
    path: Path,
    last: np.ndarray,
    truth: np.ndarray,
    forecasts: Mapping[str, np.ndarray],
    errors: Mapping[str, np.ndarray],
    lead: int,
    *,
    overwrite: bool = True,
) -> None:
    """Write one PNG.

    ``last`` (H, W), ``truth`` and each forecast (H, W) at ``lead`` frames, in dBZ; ``errors`` are
    curves by lead time. FileExistsError if there is such a file, unless ``overwrite``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    minutes = lead * MINUTES
    images = {"last frame seen": last, f"truth, +{minutes} min": truth}
    images |= {f"{name}, +{minutes} min": image for name, image in forecasts.items()}
    figure = Figure(figsize=(3.0 * len(images), 6.6), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.2, 1))[:, 0]
    axes = above.subplots(1, len(images), squeeze=False)[0]
    shown = []
    for axis, (title, image) in zip(axes, images.items(), strict=True):
        rain = np.ma.masked_less(image, 1.0)
        shown.append(axis.imshow(rain, vmin=0, vmax=40, cmap="turbo", interpolation="nearest"))
        axis.set(title=title, xticks=[], yticks=[], facecolor="0.93")
    above.colorbar(shown[0], ax=axes, label="reflectivity [dBZ]", shrink=0.8)
    axis = below.subplots()
    for index, (name, curve) in enumerate(errors.items()):
        times = MINUTES * np.arange(1, len(curve) + 1)
        # The frameworks' curves lie on one another: thinner lines on thicker ones keep all of them
        # in sight.
        style = {"color": "0.4", "ls": "--"} if name == "persistence" else {"lw": max(1.0, 9 - 2 * index)}
        axis.plot(times, curve, label=name, **style)
    axis.set(xlabel="lead time [min]", ylabel="mean squared error [dBZ²]", ylim=(0, None))
    axis.legend()
    figure.text(0.995, 0.005, CREDIT, ha="right", va="bottom", fontsize=7, color="0.4")
    with atomic.replacing(path, overwrite=overwrite) as part:
        figure.savefig(part, format="png", dpi=90)
