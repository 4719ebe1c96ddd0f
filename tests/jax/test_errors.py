"""Every error that a caller of convgru.jax can meet: what was expected, what came, and where."""

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


def problem(spec, size=(4, 4)):
    return face.init(spec, jax.random.key(0)), jnp.ones((2, 1, *size, spec.in_channels))


PARAMS, X = problem(GRU)
FRAMES = jnp.ones((2, 1, 4, 4, 1))
H = jnp.zeros((1, 4, 4, 4))
FORCED = jnp.ones((2, 1), bool)
TIED = network("lstm", 3, 2, peephole="hadamard", state_size=(5, 4))
WIDE = network("gru", 3, 2, 9, padding_mode="reflect")
MESH = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
DOUBLE = {name: np.asarray(array, np.float64) for name, array in PARAMS.items()}


def gru(x=X, state=None, params=PARAMS, spec=GRU, **options):
    return face.apply(spec, params, x, state, **options)


def sharded(array, axis):
    return jax.device_put(array, jax.NamedSharding(MESH, jax.P(*(None,) * axis, "data")))


def cast(**options):
    return face.forecast(CASTER, problem(CASTER)[0], FRAMES, 2, **options)


ERRORS = {
    "rank": (lambda: gru(X[0]), ValueError, r"ConvGRU expected an input of 5 axes \(T, B, H, W, C\), got 4"),
    "time-sharded": (
        lambda: gru(sharded(X, 0)),
        ValueError,
        r"ConvGRU expected arrays with time whole on .* with time sharded over the mesh axis 'data': shard batch or space",
    ),
    "channels-sharded": (
        lambda: face.step(GRU, PARAMS, sharded(X[0], 3)),
        ValueError,
        "with channels sharded over the",
    ),
    "state-sharded": (lambda: gru(state=(sharded(H, 3),)), ValueError, "shape .1, 4, 4, 4. with channels sharded over"),
    "step-rank": (lambda: face.step(GRU, PARAMS, X), ValueError, r"4 axes \(B, H, W, C\), got 5"),
    "channels": (lambda: gru(X[..., :2]), ValueError, r"ConvGRU expected 3 input channels on axis 4, got 2 \(input"),
    "no-frames": (lambda: gru(X[:0]), ValueError, r"at least 1 on axis 0 \(time\), got 0"),
    "list": (lambda: gru([[1.0]]), TypeError, "ConvGRU expected x to be an array, got list"),
    "half-input": (lambda: gru(X.astype("float16")), TypeError, "x of dtype float32 .*got float16"),
    "double-input": (lambda: gru(np.ones(X.shape)), TypeError, "x of dtype float32 .*got float64"),
    "integer-input": (lambda: gru(X.astype(int)), TypeError, "x of dtype float32 .*got int32"),
    "double-everything": (lambda: gru(np.ones(X.shape), params=DOUBLE), UnsupportedError, "jax_enable_x64"),
    "double-init": (lambda: face.init(GRU, jax.random.key(0), "float64"), UnsupportedError, "jax_enable_x64"),
    "integer-init": (lambda: face.init(GRU, jax.random.key(0), "int32"), WeightsError, "got int32"),
    "state-kind": (lambda: gru(state=H), TypeError, "tuple of 1"),
    "state-length": (lambda: gru(state=(H, H)), ValueError, "state of 1 .*got 2"),
    "state-shape": (lambda: gru(state=(H[:, :3],)), ValueError, r"state\[0\] \(h\) expected shape \(1, 4, 4, 4\)"),
    "state-dtype": (
        lambda: gru(state=(H.astype("bfloat16"),)),
        TypeError,
        r"state\[0\] \(h\) of dtype float32 .*bfloat16",
    ),
    "state-pair": (lambda: gru(spec=LSTM, params=problem(LSTM)[0], state=(H, H)), TypeError, r"state\[0\] .* \(h, c\)"),
    "params-missing": (lambda: gru(params={}), ValueError, "ConvGRU parameters: missing .*weight_hh"),
    "params-strange": (lambda: gru(params={**PARAMS, "b": H}), ValueError, r"unexpected b"),
    "params-shape": (
        lambda: gru(params={**PARAMS, "layers.0.fwd.bias": H}),
        ValueError,
        r"layers.0.fwd.bias expected shape \(12,\), got \(1, 4, 4, 4\)",
    ),
    "params-mixed": (
        lambda: gru(params={**PARAMS, "layers.0.fwd.bias": jnp.zeros(12, "bfloat16")}),
        TypeError,
        "one dtype for all parameters, got float32 and bfloat16 .layers.0.fwd.bias.",
    ),
    "params-integer": (lambda: gru(params=jax.tree.map(jnp.int32, PARAMS)), TypeError, "got int32"),
    "params-list": (
        lambda: gru(params={**PARAMS, "layers.0.fwd.bias": [0.0]}),
        TypeError,
        "layers.0.fwd.bias to be an array, got list",
    ),
    "method": (lambda: gru(method="slow"), ValueError, "method expected one of 'fast', 'plain', got 'slow'"),
    "spec-kind": (lambda: gru(spec=CASTER), TypeError, "expected a NetworkSpec, got ForecasterSpec; forecast runs"),
    "forecast-kind": (lambda: face.forecast(GRU, PARAMS, X, 2), TypeError, "expected a ForecasterSpec"),
    "steps": (lambda: face.forecast(CASTER, problem(CASTER)[0], FRAMES, 0), ValueError, "positive integer, got 0"),
    "patch": (lambda: face.forecast(CASTER, problem(CASTER)[0], FRAMES[:, :, :3], 1), ValueError, "multiple of 2"),
    "step-both-ways": (
        lambda: face.step(WAYS, problem(WAYS)[0], X[0]),
        TypeError,
        "ConvGRU expected a whole sequence: its second direction starts at the last frame",
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
        lambda: gru(context=[jnp.zeros((1, 4, 4, 12), "float16")]),
        TypeError,
        r"context\[0\] of dtype float32 .*float16",
    ),
    "masks-kind": (lambda: gru(masks=[H]), TypeError, "masks to be a mapping from names to arrays, got list"),
    "masks-strange": (lambda: gru(masks={"recurrent.0": H}), ValueError, r"unexpected recurrent.0"),
    "masks-missing": (lambda: gru(spec=DROPPING, masks={}), ValueError, r"missing recurrent.0"),
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
        "Forecaster expected targets and forced together",
    ),
    "forced-alone": (lambda: cast(forced=FORCED), TypeError, "Forecaster expected targets and forced together"),
    "forced-twice": (lambda: cast(targets=FRAMES, forced=FORCED, teacher_forcing=0.5), TypeError, "got both"),
    "forced-kind": (
        lambda: cast(targets=FRAMES, forced=FORCED * 1.0),
        TypeError,
        "forced of dtype bool, got float32",
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
    "teacher-text": (
        lambda: cast(targets=FRAMES, teacher_forcing="0.5", key=jax.random.key(0)),
        TypeError,
        "Forecaster teacher_forcing expected one probability for all, got '0.5'",
    ),
    "teacher-several": (
        lambda: jax.jit(lambda p: cast(targets=FRAMES, teacher_forcing=p, key=jax.random.key(0)))(jnp.ones(1)),
        TypeError,
        "Forecaster teacher_forcing expected one probability for all, got",
    ),
    "init-key": (lambda: face.init(GRU, 0), TypeError, "ConvGRU expected a key of jax.random, got int"),
    "masks-key": (
        lambda: face.draw_masks(DROPPING, 0, 1, 1, (4, 4)),
        TypeError,
        "ConvGRU expected a key of jax.random",
    ),
    "masks-integers": (
        lambda: face.draw_masks(DROPPING, jax.random.key(0), 1, 1, (4, 4), "int32"),
        WeightsError,
        "dtype expected one of float64, float32, float16, bfloat16, got int32",
    ),
    "masks-float64": (
        lambda: face.draw_masks(DROPPING, jax.random.key(0), 1, 1, (4, 4), "float64"),
        UnsupportedError,
        "ConvGRU expected a dtype that JAX computes in, got float64",
    ),
    "zero-state-float64": (lambda: face.zero_state(GRU, 1, (4, 4), "float64"), UnsupportedError, "got float64, which"),
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
    "zero-state": (lambda: face.zero_state(TIED, 1, (4, 4)), ValueError, r"state of spatial size \(5, 4\)"),
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
