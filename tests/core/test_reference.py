"""The float64 reference against independent results: naive loops, finite differences, algebra."""

import itertools

import numpy as np
import pytest
from support import assert_close

from convgru import reference, spec
from convgru.initialization import init
from convgru.parity import table as case_table
from convgru.parity.cases import noisy, problem
from convgru.reference import complex_step, ops
from convgru.reference.rounding import SCALE, WALK, Rounding
from convgru.spec.convolution import Convolution
from convgru.spec.shapes import nest_state, state_leaves
from convgru.weights import Weights

RNG = np.random.default_rng(5)


def source_of(mode, i, n):
    """Which pixel a padded place shows; None for a zero."""
    if 0 <= i < n:
        return i
    if mode == "circular":
        return i % n
    if mode == "replicate":
        return min(max(i, 0), n - 1)
    return (-i if i < 0 else 2 * (n - 1) - i) if mode == "reflect" else None


def naive_convolution(x, weight, geometry):
    """Cross-correlation of (B, C, *S) with (gates · groups · O, C / groups, *k), in loops."""
    inside = x.shape[2:]
    pads, size = geometry.pads(inside), geometry.output_size(inside)
    columns, rows = weight.shape[1], weight.shape[0] // geometry.gates // geometry.groups
    out = np.zeros((x.shape[0], weight.shape[0], *size))
    for place in itertools.product(*map(range, size)):
        for tap in itertools.product(*map(range, weight.shape[2:])):
            walk = zip(place, tap, geometry.stride, geometry.dilation, pads, inside, strict=True)
            source = [source_of(geometry.padding_mode, i * s + t * d - low, n) for i, t, s, d, (low, _), n in walk]
            if None in source:
                continue
            for row in range(weight.shape[0]):
                group = row // rows % geometry.groups  # within each gate
                read = x[:, group * columns : (group + 1) * columns]
                out[(slice(None), row, *place)] += read[(..., *source)] @ weight[(row, slice(None), *tap)]
    return out


CONVOLUTIONS = [
    ((7,), Convolution((3,), (1,), (1,))),
    ((7,), Convolution((4,), (1,), (2,))),
    ((5, 6), Convolution((2, 3), (1, 1), (1, 2))),
    ((5, 6), Convolution((2, 3), (1, 1), (2, 1), padding="valid")),
    ((4, 3), Convolution((3, 1), (1, 1), (1, 1), padding=((0, 2), (1, 0)))),
    ((3, 4, 3), Convolution((2, 3, 1), (1, 1, 1), (1, 1, 2))),
    ((7, 6), Convolution((3, 2), (2, 3), (1, 1))),
    ((7, 6), Convolution((3, 2), (2, 3), (1, 2), padding="valid")),
    ((5, 6), Convolution((3, 2), (2, 3), (1, 2), padding="preserve")),
    ((5, 6), Convolution((3, 3), (2, 1), (1, 1), padding=((0, 3), (2, 2)), padding_mode="replicate")),
    ((5, 6), Convolution((3, 4), (1, 1), (1, 1), padding_mode="reflect")),
    ((5, 6), Convolution((3, 4), (1, 2), (2, 1), padding_mode="circular")),
    ((6,), Convolution((3,), (1,), (1,), groups=3, gates=2)),
    ((5, 4), Convolution((2, 3), (2, 1), (1, 1), groups=3, gates=1)),
    ((3, 2, 3), Convolution((2, 1, 2), (1, 1, 1), (1, 1, 1), groups=3, gates=4, padding_mode="circular")),
]


@pytest.mark.parametrize(("size", "geometry"), CONVOLUTIONS)
def test_convolution_is_cross_correlation(size, geometry):
    x = RNG.standard_normal((2, 3, *size))
    rows = geometry.gates * geometry.groups * 2
    weight = RNG.standard_normal((rows, 3 // geometry.groups, *geometry.kernel_size))
    got = ops.conv(np.moveaxis(x, 1, -1), {"k": ops.kernel(weight, geometry)}, "k")
    assert_close(np.moveaxis(got, -1, 1), naive_convolution(x, weight, geometry))


def test_same_gives_the_ceiling_and_preserve_the_whole():
    for n, k, s, d in itertools.product(range(1, 9), range(1, 5), range(1, 4), range(1, 3)):
        assert Convolution((k,), (s,), (d,)).output_size((n,)) == (-(-n // s),)
        preserving = Convolution((k,), (s,), (d,), padding="preserve")
        assert preserving.output_size((n,)) == (n,)
        ((low, high),) = preserving.pads((n,))
        assert low + high == (s - 1) * (n - 1) + d * (k - 1)
        assert high - low in (0, 1)


@pytest.mark.parametrize("gates", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_the_order_of_rows_is_that_of_a_grouped_convolution(gates, groups):
    geometry = Convolution((1,), (1,), (1,), groups=groups, gates=gates)
    rows = np.arange(gates * groups * 2)
    order = geometry.row_order(len(rows))
    assert (rows[list(order)] // 2 % groups == np.sort(rows // 2 % groups)).all()  # each group's rows together
    assert (np.asarray(order)[list(geometry.restore_order(len(rows)))] == rows).all()
    assert geometry.reorders == (list(order) != rows.tolist())


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def scalar_gru_before(w, x, h):
    (ir, iz, in_), (hr, hz, hn), (br, bz, bn) = w["weight_ih"], w["weight_hh"], w["bias"]
    r, z = sigmoid(ir * x + hr * h + br), sigmoid(iz * x + hz * h + bz)
    return z * h + (1 - z) * np.tanh(in_ * x + bn + hn * (r * h))


def scalar_gru_after(w, x, h):
    (ir, iz, in_), (hr, hz, hn), (br, bz, bn) = w["weight_ih"], w["weight_hh"], w["bias"]
    r, z = sigmoid(ir * x + hr * h + br), sigmoid(iz * x + hz * h + bz)
    return z * h + (1 - z) * np.tanh(in_ * x + bn + r * (hn * h + w["bias_hn"][0]))


@pytest.mark.parametrize(("reset", "formula"), [("before", scalar_gru_before), ("after", scalar_gru_after)])
def test_gru_by_hand(reset, formula):
    weights = noisy(init(spec.network("gru", 1, 1, 1, ndim=1, reset=reset), 3, "float64"), 3)
    short = {name.rpartition(".")[2]: array.ravel() for name, array in weights.arrays.items()}
    x, h = RNG.standard_normal(4), 0.7
    got, _ = reference.run(weights, x.reshape(4, 1, 1, 1), (np.full((1, 1, 1), h),))
    for frame, value in zip(x, got.ravel(), strict=True):
        h = formula(short, frame, h)
        assert_close(value, h, eps=4)


def test_lstm_and_rnn_by_hand():
    weights = noisy(init(spec.network("lstm", 1, 1, 1, ndim=1), 4, "float64"), 4)
    ih, hh, b = (a.ravel() for a in weights.arrays.values())
    x, h, c = 0.3, -0.4, 0.9
    i, f, g, o = ih * x + hh * h + b
    c_new = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    state = ((np.full((1, 1, 1), h), np.full((1, 1, 1), c)),)
    y, ((h_got, c_got),) = reference.run(weights, np.full((1, 1, 1, 1), x), state)
    assert y.item() == h_got.item()
    assert_close([c_got.item(), y.item()], [c_new, sigmoid(o) * np.tanh(c_new)], eps=4)

    weights = noisy(init(spec.network("rnn", 1, 1, 1, ndim=1, activation="relu"), 4, "float64"), 4)
    ih, hh, b = (a.item() for a in weights.arrays.values())
    y, _ = reference.run(weights, np.full((1, 1, 1, 1), x), (np.full((1, 1, 1), h),))
    assert_close(y.item(), max(0.0, ih * x + hh * h + b), eps=4)


NETWORKS = [
    spec.network("gru", 2, [3, 2], [3, 2]),
    spec.network("gru", 2, 3, reset="after", ndim=1),
    spec.network("lstm", 1, 2, (2, 1), padding="valid"),
    spec.network("rnn", 2, 2, ndim=3),
    spec.forecaster("gru", 1, 3, patch=2),
    spec.network("lstm", 2, 2, norm=2, peephole="conv", groups=2, stride=2, padding_mode="circular"),
    spec.network("gru", 1, [2, 2], bidirectional="stack", merge="mul", ndim=1, updates=(3, 2)),
    spec.forecaster("rnn", 1, 2, decoder=True, feedback=False),
]


@pytest.mark.parametrize("network", NETWORKS, ids=lambda s: s.title)
def test_gradient_against_finite_differences(network):
    weights = noisy(init(network, 1, "float64"), 1)
    steps = 2 if network.title == "Forecaster" else None
    x = RNG.standard_normal((3, 1, network.in_channels, *(4,) * network.ndim))
    state = reference.complete_state(network, x)
    y, final = reference.run(weights, x, state, steps=steps)
    cotangents = RNG.standard_normal(y.shape), final
    gradient = reference.gradient(weights, x, state, cotangents, steps=steps)
    leaves = reference.leaves_of(weights, x, state)
    for name, leaf in leaves.items():
        direction = RNG.standard_normal(leaf.shape)

        def loss(amount, name=name, direction=direction):
            moved = {**leaves, name: leaves[name] + amount * direction}
            layers, end = reference.compute(network, moved, moved["x"], nest_state(network, moved), steps)
            total = (layers[-1] * cotangents[0]).sum()
            for (_, a), (_, b) in zip(state_leaves(network, end), state_leaves(network, cotangents[1]), strict=True):
                total += (a * b).sum()
            return total

        slope = (loss(1e-5) - loss(-1e-5)) / 2e-5
        assert (gradient[name] * direction).sum() == pytest.approx(slope, rel=1e-7, abs=1e-8), name


def test_cotangents_have_the_shapes_of_the_results():
    weights = init(spec.network("gru", 1, 2), 1, "float64")
    x = RNG.standard_normal((3, 2, 1, 4, 4))
    y, final = reference.run(weights, x)
    message = r"ConvGRU expected a cotangent of output of shape \(3, 2, 2, 4, 4\), got \(2, 2, 4, 4\)"
    with pytest.raises(ValueError, match=message):
        reference.gradient(weights, x, None, (y[0], final))


@pytest.mark.parametrize("network", NETWORKS, ids=lambda s: s.title)
def test_gradient_against_complex_step(network):
    weights = noisy(init(network, 1, "float64"), 1)
    steps = 2 if network.title == "Forecaster" else None
    x = RNG.standard_normal((2, 1, network.in_channels, *(4,) * network.ndim))
    y, final = reference.run(weights, x, steps=steps)
    cotangents = RNG.standard_normal(y.shape), final
    want = complex_step.gradient(weights, x, None, cotangents, steps=steps)
    got = reference.gradient(weights, x, None, cotangents, steps=steps)
    assert_close(got, want, what="gradient")


@pytest.mark.parametrize("case", case_table.table(), ids=lambda case: case.name)
def test_gradient_against_complex_step_on_the_table(case):
    """Along a random direction of every leaf of every case.

    ReLU and clipped lines, norms, lengths, context and forecasts are among the cases.
    """
    made = problem(case, "float64")
    call = {"steps": case.steps, "extras": made.extras}
    slopes = reference.gradient(made.weights, made.x, made.state, made.cotangents, **call)
    directions = {name: RNG.standard_normal((1, *slope.shape)) for name, slope in slopes.items()}
    along = complex_step.derivatives(made.weights, made.x, made.state, made.cotangents, directions, **call)
    for name, slope in slopes.items():
        terms = slope * directions[name][0]
        assert abs(terms.sum() - along[name].item()) < 1e-13 * max(1, np.sqrt((terms**2).sum())), name


def test_rounding_of_a_sum_is_a_random_walk():
    """The error of sequential float32 sums has ``Rounding.sum``'s deviation of √n/5 eps."""
    terms = RNG.standard_normal((20_000, 400)).astype(np.float32)
    for n in (4, 40, 400):
        off = np.cumsum(terms[:, :n], axis=1)[:, -1] - terms[:, :n].astype(np.float64).sum(axis=1)
        size = np.sqrt((off**2).mean()) / (2.0**-23 * np.sqrt(n))
        assert 0.1 * np.sqrt(n) < size < WALK * np.sqrt(n)
    value, squares = np.full(20_000, 0.5), np.full(20_000, 9.0)
    moved = Rounding(0).sum(value, squares, 25) - value
    assert np.sqrt((moved**2).mean()) / SCALE == pytest.approx(3 * WALK * 5, rel=0.02)
    moved = Rounding(0).sum(np.full(20_000, 7.0), squares, 0, extra=1.0) - 7
    assert np.sqrt((moved**2).mean()) / SCALE == pytest.approx(7, rel=0.02)


def test_patch_is_the_pixel_unshuffle():
    x = np.arange(2 * 4 * 6 * 3.0).reshape(2, 4, 6, 3)  # (B, H, W, C)
    cut = ops.patch(x, (2, 3))
    assert cut.shape == (2, 2, 2, 18)
    for c, i, j in itertools.product(range(3), range(2), range(3)):
        np.testing.assert_array_equal(cut[..., c * 6 + i * 3 + j], x[:, i::2, j::3, c])
    np.testing.assert_array_equal(ops.unpatch(cut, (2, 3)), x)


def test_a_forecaster_feeds_on_its_own_prediction():
    network = spec.forecaster("lstm", 1, 3, patch=2)
    weights = noisy(init(network, 2, "float64"), 2)
    x = RNG.standard_normal((3, 2, 1, 4, 4))
    frames, state = reference.run(weights, x, steps=3)
    first, middle = reference.run(weights, x, steps=1)
    np.testing.assert_array_equal(frames[:1], first)
    rest, end = reference.run(weights, first, middle, steps=2)
    assert_close((frames[1:], state), (rest, end), eps=4)


def test_splitting_time_changes_nothing():
    weights = noisy(init(spec.network("gru", 2, [3, 4]), 6, "float64"), 6)
    x = RNG.standard_normal((5, 2, 2, 4, 4))
    whole, end = reference.run(weights, x)
    first, state = reference.run(weights, x[:2])
    second, state = reference.run(weights, x[2:], state)
    np.testing.assert_array_equal(whole, np.concatenate([first, second]))
    np.testing.assert_array_equal(end[1], state[1])


def test_sigmoid_of_large_numbers_is_silent():
    with np.errstate(all="raise", under="ignore"):
        got = ops.activation("sigmoid", np.array([-800.0, -30.0, 0.0, 30.0, 800.0]))
    np.testing.assert_allclose(got, [0, np.exp(-30), 0.5, 1, 1], rtol=1e-12, atol=1e-300)


def test_bfloat16_weights_are_read_as_they_are():
    weights = init(spec.network("gru", 1, 2), 0, "bfloat16")
    x = RNG.standard_normal((2, 1, 1, 3, 3))
    rounded = Weights(weights.spec, {k: v.astype(np.float64) for k, v in weights.arrays.items()})
    np.testing.assert_array_equal(reference.run(weights, x)[0], reference.run(rounded, x)[0])


def test_integer_steps_belong_to_forecasters():
    weights = init(spec.network("gru", 1, 2))
    with pytest.raises(TypeError, match="only a forecaster has a horizon"):
        reference.run(weights, np.zeros((1, 1, 1, 3, 3)), steps=2)
    weights = init(spec.forecaster("gru", 1, 2))
    for steps in (None, 0, -1, True, 1.5):
        with pytest.raises(ValueError, match="how many frames to forecast"):
            reference.run(weights, np.zeros((1, 1, 1, 3, 3)), steps=steps)
