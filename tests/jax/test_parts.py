"""checkpoint_frames: a sequence in parts gives the same results and gradients, in less memory."""

from functools import partial

import jax
import pytest
from jax import numpy as jnp

from convgru import forecaster, network
from convgru import jax as face

LINE = {"ndim": 1}
DROPPING = {"dropout": 0.5, "recurrent_dropout": 0.5, "zoneout": 0.5}
TIME = 5
QUICK = {"xla_backend_optimization_level": 0}
"""Compile for one call: XLA's own passes all run, LLVM's do not."""
CALLS = {
    "lstm-masks": (network("lstm", 2, [3, 2], **DROPPING, **LINE), {"key": jax.random.key(0)}),
    "lengths": (network("gru", 2, [3, 2], **LINE), {"lengths": jnp.array([4, 0, 2]), "return_all_layers": True}),
    "last-lengths": (
        network("rnn", 2, [3, 2], **LINE),
        {"last_only": True, "return_all_layers": True, "lengths": jnp.array([1, 3, 0])},
    ),
    "bidirectional": (network("gru", 2, [3, 2], bidirectional=True, **LINE), {"lengths": jnp.array([4, 5, 2])}),
    "stack-last": (network("lstm", 2, 3, bidirectional="stack", **LINE), {"last_only": True}),
    "timed-context": (network("rnn", 2, [2, 3], **LINE), {"context": (1, 0)}),
    "forecaster-decoder": (forecaster("gru", 2, 3, decoder=True, dropout=0.5, **LINE), {"key": jax.random.key(0)}),
}


@pytest.mark.parametrize("name", CALLS)
def test_parts_give_the_same(name, net, error):
    """Of 2 frames, which do not divide 5."""
    spec, options = CALLS[name]
    one = net(spec, (4,), time=TIME, batch=3)
    if "context" in options:
        times = [(TIME,) if timed else () for timed in options["context"]]
        channels = [layer.hidden_channels for layer in spec.layers]
        options = {"context": tuple(jnp.ones((*t, 3, 4, c)) for t, c in zip(times, channels, strict=True))}
    weigh = jax.random.key(1)

    def call(params, x, frames):
        if spec.title == "Forecaster":
            return face.forecast(spec, params, x, 4, one.state, checkpoint_frames=frames, **options)
        return face.apply(spec, params, x, one.state, checkpoint_frames=frames, **options)

    @partial(jax.jit, compiler_options=QUICK)
    def everything(params, x):
        def results(frames):
            out, pull = jax.vjp(lambda *a: call(*a, frames), params, x)
            return out, pull(jax.tree.map(lambda a: jax.random.normal(weigh, a.shape), out))

        return results(None), results(2)

    want, got = everything(one.params, jnp.asarray(one.x))
    assert error(got, want) < 1e-5


@pytest.mark.parametrize("bidirectional", [None, "layer"])
def test_memory_does_not_grow_with_the_sequence(bidirectional):
    """Compiled, not run: what grows are the output and the states between parts."""
    spec = network("gru", 1, 8, bidirectional=bidirectional)
    params = jax.eval_shape(lambda: face.init(spec, jax.random.key(0)))

    def megabytes(time, frames):
        x = jax.ShapeDtypeStruct((time, 1, 32, 32, 1), "float32")
        slope = jax.grad(lambda p, x: (face.apply(spec, p, x, checkpoint_frames=frames, last_only=True)[0] ** 2).sum())
        compiled = jax.jit(slope).lower(params, x).compile(compiler_options=QUICK)
        return compiled.memory_analysis().temp_size_in_bytes / 1e6

    parts = megabytes(256, 16)
    assert parts < 0.2 * megabytes(256, None)
    assert parts < 2 * megabytes(64, 16)


@pytest.mark.parametrize("frames", [0, -1, 1.5, "all"])
def test_a_part_is_some_frames(frames):
    spec = network("gru", 1, 2, **LINE)
    params = face.init(spec, jax.random.key(0))
    with pytest.raises(ValueError, match="ConvGRU checkpoint_frames expected a positive integer"):
        face.apply(spec, params, jnp.ones((2, 1, 4, 1)), checkpoint_frames=frames)
