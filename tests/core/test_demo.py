"""What the demo calls a good forecast, and where it looks for its radar."""

from __future__ import annotations

import numpy as np
import pytest

from convgru.nowcasting.demo import data
from convgru.nowcasting.skill import Scores

verification = pytest.importorskip("convgru.nowcasting.demo.verification", reason="rich is not installed")
MSE = {"persistence": 50.0, "extrapolation": 30.0, "torch": 20.0}
CSI = {"persistence": 0.2, "extrapolation": 0.5, "torch": 0.48}


def judged(mse=None, csi=None, at=0):
    """The problems of 12 lead times that are good but for what is replaced at one of them."""
    errors = {name: np.full(12, value) for name, value in MSE.items()}
    events = {name: np.full(12, value) for name, value in CSI.items()}
    if mse is not None:
        errors["torch"][at] = mse
    if csi is not None:
        events["torch"][at] = csi
    scores = Scores(errors, {10.0: events, 20.0: {name: np.zeros(12) for name in CSI}})
    return verification.Verification(scores, 0.0).problems()


def test_a_good_forecast_has_no_problems_and_twenty_dbz_is_not_judged():
    assert judged() == []


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"mse": 30.0, "at": 11}, "PyTorch: mean squared error is not below extrapolation's at 60 min"),
        ({"csi": 0.44, "at": 5}, "PyTorch: CSI ≥ 10 is below 0.9 of extrapolation's at 30 min"),
        ({"csi": 0.2, "at": 8}, "PyTorch: CSI ≥ 10 is not above persistence's at 45 min"),
    ],
)
def test_what_is_not_good_is_said(wrong, sentence):
    assert judged(**wrong) == [sentence]


@pytest.mark.parametrize("allowed", [{"csi": 0.44, "at": 6}, {"csi": 0.1, "at": 9}])
def test_after_half_an_hour_and_after_45_minutes_less_will_do(allowed):
    assert judged(**allowed) == []


def test_nobody_hits_and_that_is_no_success():
    assert judged(csi=np.nan) == [
        "PyTorch: CSI ≥ 10 is not above persistence's at 5 min",
        "PyTorch: CSI ≥ 10 is below 0.9 of extrapolation's at 5 min",
    ]


def test_radar_is_read_in_dbz(tmp_path):
    np.savez(tmp_path / f"fmi_{data.TEST_DAY}.npz", frames=np.array([[[0, 64, 84, 104]]], np.uint8))
    np.testing.assert_array_equal(data.load(data.TEST_DAY, tmp_path), [[[0, 0, 10, 20]]])


def test_without_radar_the_message_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run convgru demo in a checkout, or say --data FOLDER"):
        data.load(data.TEST_DAY, tmp_path)
