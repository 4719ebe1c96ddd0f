"""What convgru.registry asks of the JAX room: build, extract, execute; and every error a caller can meet."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import convgru
from convgru import UnsupportedError, WeightsError, forecaster, network, registry
from convgru import jax as face

BACKEND = registry.get("jax")
GRU = network("gru", 3, 4)
LSTM = network("lstm", 3, [4, 2])
WAYS = network("gru", 3, 4, bidirectional=True)
DROPPING = network("gru", 3, 4, recurrent_dropout=0.5)
CASTER = forecaster("gru", 1, 4, patch=2)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_build_and_extract_keep_every_byte(dtype):
    """float64 too, although JAX computes in float32 here."""
    weights = convgru.init(CASTER, 1, dtype)
    net = convgru.build(weights, "jax")
    assert BACKEND.owns(net)
    assert convgru.extract(net).equal(weights)


def test_built_parameters_do_not_share_the_memory_of_the_weights():
    weights = convgru.init(GRU, 1)
    _, params = convgru.build(weights, "jax")
    before = weights.arrays["layers.0.fwd.bias"].copy()
    weights.arrays["layers.0.fwd.bias"][:] = 7
    np.testing.assert_array_equal(params["layers.0.fwd.bias"], before)


def test_execute_in_float64_leaves_the_switch_alone():
    weights = convgru.init(GRU, 1, "float64")
    x = np.random.default_rng(0).standard_normal((2, 1, 3, 4, 4))
    y, _, _ = BACKEND.execute(weights, x)
    want, _ = convgru.reference.run(weights, x)
    np.testing.assert_allclose(y, want, rtol=0, atol=1e-14)
    assert jnp.zeros(1, float).dtype == jnp.float32


def test_precise_raises_the_precision_and_puts_it_back():
    before = jax.config.jax_default_matmul_precision
    with BACKEND.precise():
        text = jax.jit(lambda p, x: face.apply(GRU, p, x)).lower(*problem(GRU)).as_text()
    assert "HIGHEST" in text
    assert jax.config.jax_default_matmul_precision == before
    assert "HIGHEST" not in jax.jit(lambda p, x: face.apply(GRU, p, x)).lower(*problem(GRU)).as_text()


def test_devices_versions_and_notes():
    assert "cpu" in BACKEND.devices()
    assert BACKEND.versions()["jax"] == jax.__version__
    assert any("float64: off" in note for note in BACKEND.notes())


def problem(spec, size=(4, 4)):
    return face.init(spec, jax.random.key(0)), jnp.ones((2, 1, *size, spec.in_channels))


PARAMS, X = problem(GRU)
FRAMES = jnp.ones((2, 1, 4, 4, 1))
H = jnp.zeros((1, 4, 4, 4))
FORCED = jnp.ones((2, 1), bool)
TIED = network("lstm", 3, 2, peephole="hadamard", state_size=(5, 4))
WIDE = network("gru", 3, 2, 9, padding_mode="reflect")
DOUBLE = {name: np.asarray(array, np.float64) for name, array in PARAMS.items()}


def gru(x=X, state=None, params=PARAMS, spec=GRU, **options):
    return face.apply(spec, params, x, state, **options)


def cast(**options):
    return face.forecast(CASTER, problem(CASTER)[0], FRAMES, 2, **options)


ERRORS = {
    "rank": (lambda: gru(X[0]), ValueError, r"ConvGRU expected an input of 5 axes \(T, B, H, W, C\), got 4"),
    "step-rank": (lambda: face.step(GRU, PARAMS, X), ValueError, r"4 axes \(B, H, W, C\), got 5"),
    "channels": (lambda: gru(X[..., :2]), ValueError, r"ConvGRU expected 3 input channels on axis 4, got 2 \(input"),
    "no-frames": (lambda: gru(X[:0]), ValueError, r"at least 1 on axis 0 \(time\), got 0"),
    "list": (lambda: gru([[1.0]]), TypeError, "expected an input that is an array, got list"),
    "half-input": (lambda: gru(X.astype("float16")), TypeError, "input of dtype float32 .*got float16"),
    "double-input": (lambda: gru(np.ones(X.shape)), TypeError, "input of dtype float32 .*got float64"),
    "integer-input": (lambda: gru(X.astype(int)), TypeError, "input of dtype float32 .*got int32"),
    "double-everything": (lambda: gru(np.ones(X.shape), params=DOUBLE), UnsupportedError, "jax_enable_x64"),
    "double-init": (lambda: face.init(GRU, jax.random.key(0), "float64"), UnsupportedError, "jax_enable_x64"),
    "integer-init": (lambda: face.init(GRU, jax.random.key(0), "int32"), WeightsError, "got int32"),
    "state-kind": (lambda: gru(state=H), TypeError, "tuple of 1"),
    "state-length": (lambda: gru(state=(H, H)), ValueError, "state of 1 .*got 2"),
    "state-shape": (lambda: gru(state=(H[:, :3],)), ValueError, r"state\[0\] \(h\) expected shape \(1, 4, 4, 4\)"),
    "state-dtype": (lambda: gru(state=(H.astype("bfloat16"),)), TypeError, "state.0.h of dtype float32 .*bfloat16"),
    "state-pair": (lambda: gru(spec=LSTM, params=problem(LSTM)[0], state=(H, H)), TypeError, r"state\[0\] .* \(h, c\)"),
    "params-missing": (lambda: gru(params={}), ValueError, "missing .*weight_hh"),
    "params-strange": (lambda: gru(params={**PARAMS, "b": H}), ValueError, r"unexpected \['b'\]"),
    "params-shape": (
        lambda: gru(params={**PARAMS, "layers.0.fwd.bias": H}),
        ValueError,
        r"layers.0.fwd.bias expected shape \(12,\), got \(1, 4, 4, 4\)",
    ),
    "params-mixed": (
        lambda: gru(params={**PARAMS, "layers.0.fwd.bias": jnp.zeros(12, "bfloat16")}),
        TypeError,
        "one dtype for all params",
    ),
    "params-integer": (lambda: gru(params=jax.tree.map(jnp.int32, PARAMS)), TypeError, "got int32"),
    "params-list": (lambda: gru(params={**PARAMS, "layers.0.fwd.bias": [0.0]}), TypeError, "to be an array, got list"),
    "method": (lambda: gru(method="slow"), ValueError, "method expected one of 'fast', 'plain', got 'slow'"),
    "spec-kind": (lambda: gru(spec=CASTER), TypeError, "expected a NetworkSpec, got ForecasterSpec; forecast runs"),
    "forecast-kind": (lambda: face.forecast(GRU, PARAMS, X, 2), TypeError, "expected a ForecasterSpec"),
    "steps": (lambda: face.forecast(CASTER, problem(CASTER)[0], FRAMES, 0), ValueError, "positive integer, got 0"),
    "patch": (lambda: face.forecast(CASTER, problem(CASTER)[0], FRAMES[:, :, :3], 1), ValueError, "multiple of 2"),
    "step-both-ways": (
        lambda: face.step(WAYS, problem(WAYS)[0], X[0]),
        ValueError,
        r"ConvGRU expected a network without a backward direction for step \(which has seen no later frames\), got bidirectional 'layer'",
    ),
    "lengths-number": (
        lambda: gru(lengths=[1, 2]),
        ValueError,
        r"1 integers \(one for each sample\), got int64 of shape \(2,\)",
    ),
    "lengths-kind": (
        lambda: gru(lengths=jnp.ones(1)),
        ValueError,
        r"lengths to be 1 integers .*, got float32 of shape \(1,\)",
    ),
    "lengths-range": (
        lambda: gru(lengths=[3]),
        ValueError,
        r"lengths from 0 to 2 \(the time steps of the input\), got \[3\]",
    ),
    "lengths-traced": (
        lambda: jax.jit(lambda n: gru(lengths=n))(jnp.ones(1)),
        ValueError,
        r"lengths to be 1 integers .*, got float32 of shape \(1,\)",
    ),
    "context-number": (lambda: gru(context=()), ValueError, "a context of 1 arrays .*, got 0"),
    "context-array": (lambda: gru(context=[[1.0]]), TypeError, r"context\[0\] to be an array, got list"),
    "context-shape": (
        lambda: gru(context=[H]),
        ValueError,
        r"context\[0\] expected shape \(1, 4, 4, 12\), got \(1, 4, 4, 4\)",
    ),
    "context-time": (
        lambda: gru(context=[jnp.zeros((1, 1, 4, 4, 12))]),
        ValueError,
        r"context\[0\] expected shape \(2, 1, 4, 4, 12\)",
    ),
    "context-dtype": (
        lambda: gru(context=[H.astype("float16")]),
        TypeError,
        r"context\[0\] of dtype float32 .*float16",
    ),
    "masks-kind": (lambda: gru(masks=[H]), TypeError, "masks to be a mapping from names to arrays, got list"),
    "masks-strange": (lambda: gru(masks={"recurrent.0": H}), ValueError, r"unexpected \['recurrent.0'\]"),
    "masks-missing": (lambda: gru(spec=DROPPING, masks={}), ValueError, r"missing \['recurrent.0'\]"),
    "masks-shape": (
        lambda: gru(spec=DROPPING, masks={"recurrent.0": H[0]}),
        ValueError,
        r"mask recurrent.0 expected shape \(1, 4, 4, 4\)",
    ),
    "key": (lambda: gru(key=0), TypeError, "ConvGRU expected a key of jax.random, got int"),
    "masks-spec": (
        lambda: face.draw_masks(CASTER, jax.random.key(0), 1, 1, (4, 4)),
        TypeError,
        "draw_masks expected a NetworkSpec",
    ),
    "targets-alone": (
        lambda: cast(targets=FRAMES),
        TypeError,
        "Forecaster expected targets together with forced or teacher_forcing",
    ),
    "forced-alone": (lambda: cast(forced=FORCED), TypeError, "Forecaster expected targets together with forced"),
    "forced-twice": (lambda: cast(targets=FRAMES, forced=FORCED, teacher_forcing=0.5), TypeError, "got both"),
    "forced-kind": (
        lambda: cast(targets=FRAMES, forced=FORCED * 1.0),
        TypeError,
        "forced to hold booleans, got float32",
    ),
    "forced-shape": (
        lambda: cast(targets=FRAMES, forced=FORCED[:1]),
        ValueError,
        r"forced expected shape \(2, 1\), got \(1, 1\)",
    ),
    "targets-shape": (
        lambda: cast(targets=FRAMES[:1], forced=FORCED),
        ValueError,
        r"targets expected shape \(2, 1, 4, 4, 1\)",
    ),
    "teacher-key": (
        lambda: cast(targets=FRAMES, teacher_forcing=0.5),
        TypeError,
        "expected a key with teacher_forcing",
    ),
    "teacher-range": (
        lambda: cast(targets=FRAMES, teacher_forcing=2, key=jax.random.key(0)),
        ValueError,
        "Forecaster teacher_forcing expected a probability, got 2",
    ),
    "peephole-size": (
        lambda: gru(spec=TIED, params=problem(TIED)[0]),
        ValueError,
        r"ConvLSTM layer 0 expected a state of spatial size \(5, 4\) \(state_size, its peephole's\), got \(4, 4\)",
    ),
    "reflect": (
        lambda: gru(spec=WIDE, params=face.init(WIDE, jax.random.key(0))),
        ValueError,
        "ConvGRU layer 0 expected at least 5 pixels in spatial dimension 0 for reflect padding",
    ),
    "zero-state": (lambda: face.zero_state(GRU, (1, 4, 4, 2)), ValueError, "3 input channels on axis 3, got 2"),
    "device": (lambda: BACKEND.build(convgru.init(GRU), device="tpu:9"), UnsupportedError, "no device 'tpu:9'"),
    "option": (lambda: BACKEND.build(convgru.init(GRU), batch_first=True), TypeError, "batch_first"),
    "extract": (lambda: BACKEND.extract((GRU, None)), TypeError, r"pair \(spec, params\)"),
    "extract-nan": (
        lambda: BACKEND.extract((GRU, {**PARAMS, "layers.0.fwd.bias": jnp.full(12, jnp.nan)})),
        WeightsError,
        "12 of 12 that are not",
    ),
    "execute-steps": (
        lambda: BACKEND.execute(convgru.init(GRU), np.ones((1, 1, 3, 2, 2), "f"), steps=2),
        TypeError,
        "no steps",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_say_what_was_expected_and_what_came(name):
    function, kind, message = ERRORS[name]
    with pytest.raises(kind, match=message):
        function()


@pytest.mark.gpu
def test_gradients_on_the_gpu_are_those_of_the_cpu():
    gpus = [name for name in BACKEND.devices() if name.startswith("cuda")]
    if not gpus:
        pytest.skip("JAX sees no GPU")
    rng = np.random.default_rng(0)
    for spec, size in ((LSTM, (9, 8)), (network("gru", 3, 4, (2, 3, 3), ndim=3), (5, 6, 4))):
        weights = convgru.init(spec, 1)
        x = rng.standard_normal((3, 2, 3, *size)).astype("float32")
        y, final, _ = BACKEND.execute(weights, x)
        with BACKEND.precise():
            cpu, gpu = (BACKEND.execute(weights, x, cotangents=(y, final), device=name) for name in ("cpu", gpus[0]))
        for got, want in zip(jax.tree.leaves(gpu), jax.tree.leaves(cpu), strict=True):
            assert np.abs(got - want).max() < 2e-5 * max(1, np.abs(want).max())
