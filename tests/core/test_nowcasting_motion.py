"""Motion of frames: known shifts are found, frames move along them and come back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convgru.nowcasting import motion as moving


def drifting(velocity, size=96, frames=4, seed=0, still=False):
    """Echoes (T, size, size) that move by ``velocity`` pixels a frame, shifted exactly by FFT."""
    period = 2 * size
    down, right = np.fft.fftfreq(period)[:, None], np.fft.rfftfreq(period)[None]
    noise = np.random.default_rng(seed).standard_normal((period, period))
    spectrum = np.fft.rfft2(noise) * np.exp(-2 * (4 * np.pi) ** 2 * (down**2 + right**2))
    shifts = [np.exp(-2j * np.pi * time * (down * velocity[0] + right * velocity[1])) for time in range(frames)]
    whole = np.stack([np.fft.irfft2(spectrum * shift, (period, period)) for shift in shifts])
    start = size // 2
    return (whole / whole.std())[:, start : start + size, start : start + size]


def uniform(velocity, height, width):
    return np.broadcast_to(np.array(velocity, np.float32)[:, None, None], (2, height, width)).copy()


@settings(max_examples=12, deadline=None)
@given(st.floats(-4, 4), st.floats(-4, 4), st.integers(0, 1000))
def test_shifts_of_whole_and_broken_pixels_are_found(down, right, seed):
    found = moving.estimate(drifting((down, right), seed=seed))
    assert found.shape == (2, 96, 96)
    np.testing.assert_allclose(np.median(found, (1, 2)), (down, right), atol=0.1)


@pytest.mark.parametrize("velocity", [(2, -3), (0, 0), (-5, 1), (0.5, 1.25)])
def test_the_motion_of_a_larger_image_is_found_in_every_block(velocity):
    found = moving.estimate(drifting(velocity, size=160, frames=6))
    assert np.abs(found - uniform(velocity, 160, 160)).max() < 0.1
    np.testing.assert_allclose(found.mean((1, 2)), velocity, atol=0.05)


def test_two_halves_that_move_apart_have_motions_of_their_own():
    frames = np.concatenate([drifting((0, 3), 128), drifting((0, -3), 128, seed=1)], axis=2)
    found = moving.estimate(frames)[1]
    assert found[:, :48].mean() > 2
    assert found[:, -48:].mean() < -2


def test_the_data_type_of_frames_does_not_matter():
    frames = np.round(50 * drifting((1, 2)) + 128).clip(0, 255)
    expected = moving.estimate(frames)
    np.testing.assert_allclose(moving.estimate(frames.astype(np.uint8)), expected, atol=1e-3)
    assert moving.estimate(frames.astype(np.float32)).dtype == np.float32


def test_no_echo_does_not_move():
    assert not moving.estimate(np.zeros((4, 40, 52), np.float32)).any()


@pytest.mark.parametrize("shape", [(1, 32, 32), (4, 32), (4, 7, 32)])
def test_too_little_to_correlate_is_refused(shape):
    with pytest.raises(ValueError, match=r"at least 2 frames \(T, H, W\) of 8x8 or more, got shape"):
        moving.estimate(np.zeros(shape))


@settings(max_examples=20, deadline=None)
@given(st.integers(-3, 3), st.integers(-3, 3), st.integers(1, 4))
def test_advection_by_whole_pixels_is_a_shift(down, right, steps):
    frame = np.random.default_rng(0).random((24, 31), np.float32)
    moved = moving.advect(frame, uniform((down, right), 24, 31), steps)
    known = moving.inside(uniform((down, right), 24, 31), steps)[-1]
    rows, columns = np.nonzero(known)
    assert known.sum() == (24 - steps * abs(down)) * (31 - steps * abs(right))
    np.testing.assert_array_equal(moved[known], frame[rows - steps * down, columns - steps * right])


def test_advection_brings_the_edge_in():
    frame = np.arange(12, dtype=np.float32).reshape(3, 4)
    moved = moving.advect(frame, uniform((0, 1), 3, 4), 2)
    np.testing.assert_array_equal(moved, frame[:, [0, 0, 0, 1]])
    np.testing.assert_array_equal(
        moving.inside(uniform((0, 1), 3, 4), 2)[1], np.tile([False, False, True, True], (3, 1))
    )


def test_half_a_pixel_is_the_mean_of_two():
    frame = np.random.default_rng(0).random((5, 6))
    moved = moving.advect(frame, uniform((0, 0.5), 5, 6), 1)
    np.testing.assert_allclose(moved[:, 1:], (frame[:, 1:] + frame[:, :-1]) / 2)


def test_there_and_back_along_streams_that_turn():
    rows, columns = np.mgrid[:64, :64] - 31.5
    rotation = 0.05 * np.stack([columns, -rows]).astype(np.float32)
    y, x = rows, columns
    bump = np.exp(-((y - 4) ** 2 + (x + 6) ** 2) / 60)
    back = moving.advect(moving.advect(bump, rotation, 6), rotation, -6)
    np.testing.assert_allclose(back, bump, atol=0.03)
    quarter = moving.sources(rotation, 10)[-1]  # ten steps of 0.05 rad
    angle = 10 * 0.05
    np.testing.assert_allclose(
        quarter[0, 32, 32:44], 31.5 + (rows * np.cos(angle) - columns * np.sin(angle))[32, 32:44], atol=0.05
    )


def test_align_moves_each_frame_to_the_time_of_the_last():
    frames = drifting((2, -1), size=48, frames=4)
    aligned = moving.align(frames, uniform((2, -1), 48, 48))
    np.testing.assert_allclose(aligned[:, 8:-8, 8:-8], np.broadcast_to(frames[-1, 8:-8, 8:-8], (4, 32, 32)), atol=1e-9)
    np.testing.assert_array_equal(moving.align(frames[:1], uniform((2, -1), 48, 48)), frames[:1])


def test_advect_each_gives_every_frame_its_own_number_of_steps():
    frames = drifting((1, 2), size=40, frames=3)
    field = uniform((1, 2), 40, 40)
    each = moving.advect_each(frames, field, -1)
    for step, frame in enumerate(frames):
        np.testing.assert_array_equal(each[step], moving.advect(frame, field, -(step + 1)))


@pytest.mark.parametrize("speed", [12, 16, 22])
def test_no_motion_is_found_beyond_the_fastest(speed):
    """At the border of what is looked for the correlation has no summit."""
    frames = drifting((speed, -speed), size=256, frames=5)
    assert np.abs(moving.estimate(frames)).max() <= moving.FASTEST
    noise = np.random.default_rng(0).standard_normal((5, 64, 64))
    assert np.abs(moving.estimate(noise, fastest=3)).max() <= 3
