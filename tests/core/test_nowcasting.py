"""Nowcasting without a framework: scores, one's own files, units, and the moving frame."""

from __future__ import annotations

import numpy as np
import pytest

from convgru.nowcasting import frames, lagrangian, motion, skill, training
from convgru.nowcasting.frames import Units

RNG = np.random.default_rng


def test_scores_are_those_computed_by_hand():
    truth = np.array([[[[0, 10, 20, 30]]], [[[0, 0, 12, 8]]]], float)  # (N, T, H, W) = (2, 1, 1, 4)
    said = np.array([[[[10, 10, 0, 30]]], [[[0, 0, 8, 10]]]], float)
    # Hits at 10: 2 of (said or seen): 4 pixels of the first window, 2 of the second.
    assert skill.csi(said, truth, 10.0) == pytest.approx([2 / 6])
    assert skill.mse(said, truth) == pytest.approx([(100 + 400 + 16 + 4) / 8])
    assert np.isnan(skill.csi(said, truth, 40.0)).all()
    scores = skill.score({"a": said, "b": truth}, truth, (10.0, 20.0))
    assert scores.mse["b"] == [0]
    assert scores.csi[20.0]["b"] == [1]
    assert scores.csi[20.0]["a"] == [1 / 2]


def test_persistence_repeats_the_last_frame_and_scores_each_lead_time():
    given = np.arange(8.0).reshape(1, 2, 2, 2)
    still = skill.persistence(given, 3)
    assert still.shape == (1, 3, 2, 2)
    np.testing.assert_allclose(skill.mse(still, still + np.arange(3)[:, None, None]), [0, 1, 4])


def test_a_network_that_predicts_no_change_extrapolates():
    given = RNG(0).random((2, 4, 19, 22), np.float32)
    field = RNG(1).uniform(-1, 1, (2, 2, 1, 1)).astype(np.float32) + np.zeros((2, 2, 19, 22), np.float32)
    seen = []

    def no_change(x, steps):
        seen.append(x.shape)
        return np.repeat(x[-1:], steps, axis=0)

    got = lagrangian.forecast(no_change, given, 5, field, patch=(4, 3))
    assert seen == [(4, 2, 1, 20, 24)]  # padded to the patch
    np.testing.assert_array_equal(got, lagrangian.extrapolate(given, 5, field))
    still = lagrangian.motions(given, move=False)
    np.testing.assert_array_equal(lagrangian.forecast(no_change, given, 5, still, (1, 1)), skill.persistence(given, 5))


def test_the_training_set_stands_still_where_echoes_only_move():
    sequence = np.zeros((9, 40, 40), np.float32)
    for time in range(9):
        sequence[time, 10 + time : 18 + time, 8 + 2 * time : 16 + 2 * time] = RNG(0).random((8, 8)) + 1
    moved, known = lagrangian.training_set(frames.cut([sequence], 8), given=5)
    assert moved.shape == (2, 8, 40, 40)
    assert known.shape == (2, 3, 40, 40)
    assert known.dtype == bool
    change = np.abs(moved - moved[:, 4:5]).mean()
    stayed = np.abs(frames.cut([sequence], 8) - sequence[4]).mean()
    assert change < 0.25 * stayed
    still, everywhere = lagrangian.training_set(frames.cut([sequence], 8), given=5, move=False)
    np.testing.assert_array_equal(still, frames.cut([sequence], 8))
    assert everywhere.all()


def test_what_moved_out_of_the_image_is_not_known():
    field = np.stack([np.zeros((4, 6)), np.ones((4, 6))])
    known = motion.inside(field, -2)  # two frames later it stands two pixels further right
    assert known[0].sum(axis=1).tolist() == [5] * 4
    assert known[1].sum(axis=1).tolist() == [4] * 4


def test_files_of_sequences_and_files_of_frames(tmp_path):
    a, b = RNG(0).integers(0, 200, (2, 5, 6)), RNG(1).integers(0, 200, (3, 5, 6)).astype(np.uint8)
    for name, frame in zip("yx", a, strict=True):
        np.save(tmp_path / f"{name}.npy", frame)
    np.savez(tmp_path / "day.npz", frames=b, start="20160928")
    (tmp_path / "notes.txt").write_text("not an array")
    day, single = frames.read(tmp_path, gain=0.5, offset=-32)
    np.testing.assert_array_equal(day, b.astype(np.float32) / 2 - 32)
    np.testing.assert_array_equal(single, a[::-1].astype(np.float32) / 2 - 32)  # in the order of names
    assert day.dtype == single.dtype == np.float32
    np.savez(tmp_path / "other.npz", p=b, q=b)
    (named,) = frames.read(tmp_path / "other.npz", key="q")
    np.testing.assert_array_equal(named, b)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "expected to hold .npz or .npy files, found none"),
        ({"a.npy": np.zeros((2, 3, 4)), "b.npy": np.zeros((5, 4))}, r"b.npy expected images of \(3, 4\) as in .*a.npy"),
        ({"a.npy": np.zeros(3)}, r"a.npy expected numbers \(H, W\) or \(T, H, W\), got float64 of shape \(3,\)"),
        ({"a.npy": np.array([["x"]])}, "expected numbers"),
        ({"a.npz": {"p": np.zeros((2, 2)), "q": np.zeros((2, 2))}}, "expected an array 'frames', found p, q"),
        ({"a.npy": b"no array"}, "a.npy expected an array as numpy.save or numpy.savez writes it"),
        ({"a.npz": b"PK\x03\x04 cut"}, "a.npz expected an array as numpy.save or numpy.savez writes it"),
    ],
)
def test_what_is_not_frames_is_refused_by_name(tmp_path, content, message):
    for name, array in content.items():
        if isinstance(array, bytes):
            (tmp_path / name).write_bytes(array)
        elif isinstance(array, dict):
            np.savez(tmp_path / name, **array)
        else:
            np.save(tmp_path / name, array)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        frames.read(tmp_path)


def test_an_archive_that_is_damaged_inside_is_refused_by_name(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", frames=RNG(0).random((3, 20, 20)))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.npz expected an array as numpy\.save or numpy\.savez writes it"):
        frames.read(tmp_path)


@pytest.mark.parametrize(("shape", "given"), [((2, 4, 16, 16), 4), ((2, 4, 16, 16), 0), ((4, 16, 16), 2)])
def test_windows_of_which_nothing_is_left_to_predict_are_refused(shape, given):
    with pytest.raises(ValueError, match=r"of which fewer than T frames are given, got shape .* with \d given"):
        training.train(training.nowcaster(), np.zeros(shape), given, Units())


def test_units_clean_and_scale():
    units = Units("mm", zero=-10, scale=20, thresholds=(0,), minutes=10)
    raw = np.array([[np.nan, -32, -10, 10, np.inf]])
    np.testing.assert_array_equal(units.clean(raw), np.array([[-10, -10, -10, 10, -10]], np.float32))
    np.testing.assert_array_equal(units.scaled(units.clean(raw)), [[0, 0, 0, 1, 0]])
    np.testing.assert_array_equal(units.restored(units.scaled(units.clean(raw))), units.clean(raw))


@pytest.mark.parametrize(
    "wrong", [{"scale": 0}, {"minutes": -5}, {"thresholds": ()}, {"thresholds": (0,)}, {"zero": np.nan}]
)
def test_units_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match="Units expected"):
        Units(**wrong)


def test_windows_overlap_and_short_sequences_are_left_out():
    sequence = np.arange(5.0)[:, None, None]
    windows = frames.cut([sequence, sequence[:2], sequence + 10], 4)
    assert windows[:, :, 0, 0].tolist() == [[0, 1, 2, 3], [1, 2, 3, 4], [10, 11, 12, 13], [11, 12, 13, 14]]
    with pytest.raises(ValueError, match=r"at least 4 frames, got lengths \[2\]"):
        frames.cut([sequence[:2]], 4)
