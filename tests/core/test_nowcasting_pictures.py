"""The pictures of a forecast: written, with the panels expected, in fair colours."""

from __future__ import annotations

import numpy as np
import pytest

from convgru.nowcasting import pictures, skill
from convgru.nowcasting.frames import Units

pytest.importorskip("matplotlib", reason="matplotlib is not installed")


@pytest.fixture
def shown():
    rng = np.random.default_rng(0)
    truth, extrapolation, forecast = rng.gamma(2.0, 8.0, (3, 4, 20, 24)).astype(np.float32)
    motion = np.stack([np.zeros((20, 24)), np.ones((20, 24))]).astype(np.float32)
    return pictures.Shown(truth[:2], truth, extrapolation, forecast, motion, Units(), "a day", "whose it is")


@pytest.fixture
def panels(monkeypatch):
    """The titles of all panels of the figures that are saved."""
    from matplotlib.figure import Figure

    titles, save = [], Figure.savefig

    def saved(figure, *args, **kwargs):
        titles.append([axis.get_title() for axis in figure.axes if axis.get_title()])
        return save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", saved)
    return titles


def test_the_strip_has_a_panel_for_each_sequence_and_lead_time(shown, panels, tmp_path):
    sequences = {"forecast": shown.forecast, "extrapolation": shown.extrapolation}
    scores = skill.score({name: each[None] for name, each in sequences.items()}, shown.truth[None], (10.0, 20.0))
    pictures.draw_strip(tmp_path / "a.png", shown, scores, (1, 4), overwrite=False)
    assert (tmp_path / "a.png").read_bytes()[1:4] == b"PNG"
    (titles,) = panels
    error, event = scores.mse["forecast"][3], scores.csi[10.0]["forecast"][3]
    assert [title for title in titles if title.startswith("truth")] == ["truth, +5 min", "truth, +20 min"]
    assert f"forecast, +20 min\nMSE {error:.3g} dBZ², CSI {event:.2f}" in titles
    assert {"last frame given, and its motion", "mean squared error [dBZ²]", "CSI ≥ 10 dBZ"} <= set(titles)
    assert len(titles) == 9
    with pytest.raises(FileExistsError):
        pictures.draw_strip(tmp_path / "a.png", shown, None, (1,), overwrite=False)


def test_without_truth_there_are_no_scores(shown, panels, tmp_path):
    from dataclasses import replace

    pictures.draw_strip(tmp_path / "a.png", replace(shown, truth=None), None, (2,), overwrite=True)
    assert panels == [["last frame given, and its motion", "extrapolation, +10 min", "forecast, +10 min"]]


def test_the_animation_shows_given_and_forecast_frames(shown, tmp_path):
    from PIL import Image

    pictures.animate(tmp_path / "a.gif", shown, overwrite=False)
    with Image.open(tmp_path / "a.gif") as image:
        assert image.format == "GIF"
        # Frames that are the same as the one before, as the last ones, may be joined.
        assert len(shown.given) + len(shown.forecast) <= image.n_frames <= len(shown.given) + len(shown.forecast) + 3


def test_what_flowed_in_from_outside_is_not_shown(shown):
    frame = shown.visible("forecast", 3)
    assert np.isnan(frame[:, :3]).all()
    np.testing.assert_array_equal(frame[:, 3:], shown.forecast[2][:, 3:])
    np.testing.assert_array_equal(shown.visible("truth", 3), shown.truth[2])


def test_lightness_falls_evenly_from_weak_to_strong():
    lightness = []
    for colour in pictures.COLOURS:
        channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        lightness.append(116 * np.cbrt(linear @ (0.2126, 0.7152, 0.0722)) - 16)  # CIE L*
    falls = -np.diff(lightness)
    assert (falls > 2).all(), np.round(lightness, 1)
    assert falls.max() < 3 * falls.mean()


def test_colours_of_dbz_change_every_five():
    np.testing.assert_array_equal(pictures.levels(Units())[:3], [5, 10, 15])
