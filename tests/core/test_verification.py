"""Converted files are verified by running both, unless that would take too much memory or time."""

import tracemalloc

import pytest

import convgru
from convgru.cli import verification
from convgru.cli.verification import verify

ABSURD = {
    "dilation": {"dilation": 40_000},
    "padding": {"padding": ((20_000, 20_000), (20_000, 20_000))},
    "recurrent dilation": {"recurrent_dilation": 30_000},
    "recurrent stride": {"recurrent_stride": 10**6},
    "output size": {"output_size": (30_000, 30_000)},
    "reflected padding": {"padding": ((20_000, 20_000),) * 2, "padding_mode": "reflect"},
    "padding of the second layer": {"hidden_channels": [1, 1], "padding": [0, 30_000], "kernel_size": 1},
    "valid dilation": {"dilation": 8_000, "padding": "valid"},
}


@pytest.mark.parametrize("name", ABSURD)
def test_what_asks_for_gigabytes_is_not_run(name):
    weights = convgru.init(convgru.network(**{"cell": "gru", "in_channels": 1, "hidden_channels": 1, **ABSURD[name]}))
    tracemalloc.start()
    lines = verify(weights, weights, None)
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()
    assert lines[0] == "equal byte for byte"
    assert lines[1].startswith("not run: ")


@pytest.mark.parametrize(
    "spec",
    [
        convgru.network("lstm", 3, [8, 8], 5, stride=2, padding=1),
        convgru.forecaster("gru", 1, 8, patch=4, decoder=True),
        convgru.network("gru", 16, 128, updates=((1, 5), (5, 1)), output_size=(64, 64)),
        convgru.network("lstm", 2, 3, padding="valid", peephole="hadamard", state_size=(5, 4)),
        convgru.network("lstm", 2, [3, 2], stride=[2, 1], padding=1, peephole="hadamard", state_size=[None, (6, 5)]),
        convgru.forecaster("lstm", 1, 4, patch=2, decoder=True, peephole="hadamard", state_size=(6, 5)),
        convgru.forecaster("gru", 1, 2, decoder=convgru.network("gru", 1, 2, 21, padding_mode="reflect")),
    ],
    ids=str,
)
def test_what_is_sensible_is_run(spec):
    weights = convgru.init(spec)
    assert "gives the same numbers for both" in verify(weights, weights, None)[1]


def test_a_peephole_that_no_image_fits_is_not_run():
    ties = {"peephole": "hadamard", "state_size": 4, "padding": 5}
    weights = convgru.init(convgru.network("lstm", 1, 2, **ties))
    text = "not run: ConvLSTM: no image of (-4, -4) pixels, to which a peephole ties it, fits its layers"
    assert verify(weights, weights, None) == ["equal byte for byte", text]


def test_source_and_target_are_run_and_compared(monkeypatch):
    """A reference that gives other numbers the second time is noticed, equal bytes or not."""
    weights, run = convgru.init(convgru.network("gru", 1, 2)), verification.reference.run
    offsets = iter((0.0, 1e-6))

    def drift(*arguments, **options):
        y, state = run(*arguments, **options)
        return y + next(offsets), state

    monkeypatch.setattr(verification.reference, "run", drift)
    with pytest.raises(convgru.WeightsError, match="source and target differ by 1e-06 on random input"):
        verify(weights, weights, None)


@pytest.mark.parametrize("size", [2**31, 10**18, 10**20])
@pytest.mark.parametrize("option", ["dilation", "stride", "kernel_size", "recurrent_dilation", "hidden_channels"])
def test_numbers_that_no_image_has_are_no_spec(option, size):
    options = {"cell": "gru", "in_channels": 1, "hidden_channels": 1, option: size}
    with pytest.raises(ValueError, match=rf"{option} expected a positive integer of at most 2147483647, got {size}"):
        convgru.network(**options)
