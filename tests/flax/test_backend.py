"""The backend protocol: byte-equal ports, gradients against complex step, devices, checkpoints."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx, serialization
from support import assert_close, relative_error

import convgru
import convgru.flax as cf
from convgru import registry
from convgru.errors import UnsupportedError, WeightsError
from convgru.parity.cases import Case, make_problem, problem
from convgru.reference import gradient, run
from convgru.spec import Norm, forecaster, network
from convgru.spec.shapes import nest_state, parameter_shapes, state_leaves
from convgru_flax import checkpoint

backend = registry.get("flax")
SPECS = {
    "gru": network("gru", 2, [4, 3], [3, (2, 4)]),
    "gru-after": network("gru", 2, 3, reset="after"),
    "lstm-1d": network("lstm", 2, 3, ndim=1),
    "rnn-no-bias": network("rnn", 2, 3, bias=False, activation="relu"),
    "forecaster": forecaster("gru", 2, 3, patch=2),
}
KINDS = {"gru": cf.ConvGRU, "lstm": cf.ConvLSTM, "rnn": cf.ConvRNN, "forecaster": cf.Forecaster}
WHOLE = {
    "everything": network(
        "lstm",
        2,
        [4, 2],
        bidirectional="stack",
        merge="mean",
        peephole="conv",
        norm=Norm((2,)),
        dropout=0.3,
        recurrent_dropout=0.4,
        zoneout=0.2,
    ),
    "updates": network("gru", 2, 4, updates=((1, 5), (5, 1)), groups=2, bidirectional=True),
    "pooled": network("rnn", 2, 3, output_size=4, stride=2, padding_mode="reflect"),
    "decoder": forecaster("gru", 1, [3, 2], decoder=True, feedback=False, dropout=0.2),
}
DTYPES = ["float64", "float32", "float16", "bfloat16"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SPECS)
def test_build_and_extract_byte_for_byte(name, dtype, weights):
    given = weights(SPECS[name], dtype=dtype)
    net = backend.build(given)
    assert type(net) is KINDS[name.split("-")[0]]
    assert backend.owns(net)
    assert registry.owner_of(net) == "flax"
    assert backend.extract(net).equal(given)


def test_build_options(weights):
    given = weights(SPECS["gru"])
    net = backend.build(given, time_major=True, dtype="bfloat16", method="plain", device="cpu")
    assert (net.time_major, net.dtype, net.method) == (True, jnp.dtype("bfloat16"), "plain")
    for option in ("batch_first", "stride", "arrays"):
        with pytest.raises(
            TypeError, match=rf'convgru.build\(..., "flax"\) has no option .{option}.: its options are cell'
        ):
            backend.build(given, **{option: True})
    with pytest.raises(UnsupportedError, match="no device 'tpu:7'"):
        backend.build(given, device="tpu:7")


def test_build_a_cell(weights):
    given = weights(SPECS["gru-after"])
    cell = backend.build(given, cell=True, dtype="bfloat16", kernel_metadata={"note": "mine"})
    assert type(cell) is cf.ConvGRUCell
    assert cell.weight_ih.get_metadata("note") == "mine"
    assert backend.extract(cell).equal(given)
    with pytest.raises(ValueError, match=r"cell=True\) has no time_major: a cell takes one frame"):
        backend.build(given, cell=True, time_major=True)
    for name in ("gru", "forecaster"):
        with pytest.raises(ValueError, match=r"cell=True\) expected a network of one layer in one direction, without"):
            convgru.build(weights(SPECS[name]), "flax", cell=True)


def test_a_built_network_is_in_training_as_any_new_nnx_module(weights):
    """As nnx.Dropout: without rngs it can be built, but not called before ``eval()``."""
    given, x = weights(network("gru", 2, [3, 4], ndim=1, dropout=0.4)), np.ones((2, 3, 7, 2), "float32")
    assert backend.build(given).deterministic is nnx.Dropout(0.4).deterministic is False
    with pytest.raises(ValueError, match=r"ConvGRU expected rngs to draw dropout from, .* or in convgru.build"):
        backend.build(given)(x)
    net = convgru.build(given, "flax", rngs=nnx.Rngs(0))
    assert relative_error(net(x)[0], net(x)[0]) > 1e-3
    still = convgru.build(given, "flax", deterministic=True)(x)[0]
    for quiet in (backend.build(given), net):
        quiet.eval()
        assert np.array_equal(quiet(x)[0], still)
    assert np.isfinite(backend.build(weights(SPECS["gru"]))(np.ones((1, 2, 5, 5, 2), "float32"))[0]).all()


def test_built_module_does_not_share_memory(weights):
    given = weights(SPECS["gru-after"])
    net = backend.build(given)
    direct = cf.ConvGRU.from_spec(given.spec, arrays=given.arrays)
    before = np.array(given.arrays["layers.0.fwd.bias"])
    given.arrays["layers.0.fwd.bias"][:] = 7
    for module in (net, direct):
        assert np.array_equal(module.layers[0].fwd.bias[...], before)
    backend.extract(net).arrays["layers.0.fwd.bias"][:] = 7
    assert np.array_equal(net.layers[0].fwd.bias[...], before)


def test_extract_a_cell_and_refuse_strangers(weights):
    cell = cf.ConvLSTMCell(2, 3, rngs=nnx.Rngs(0))
    found = backend.extract(cell)
    assert found.spec == network("lstm", 2, 3)
    assert set(found.arrays) == set(parameter_shapes(found.spec))
    assert backend.owns(cell)
    assert not backend.owns(nnx.GRUCell(2, 3, rngs=nnx.Rngs(0)))
    with pytest.raises(TypeError, match=r"extract expected a module of convgru.flax, got GRUCell"):
        backend.extract(nnx.GRUCell(2, 3, rngs=nnx.Rngs(0)))
    cell.bias[...] = cell.bias[...].at[0].set(jnp.nan)
    with pytest.raises(WeightsError, match="finite"):
        backend.extract(cell)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SPECS)
def test_execute_is_the_reference(name, dtype):
    spec = SPECS[name]
    steps = 2 if name == "forecaster" else None
    case = Case(name, spec, (4, 6)[: spec.ndim], steps=steps)
    given = problem(case, dtype)
    y, final, slopes = backend.execute(given.weights, given.x, given.state, steps=steps, cotangents=given.cotangents)
    limit = 200 * np.finfo(dtype).eps
    want, last = run(given.weights, given.x, given.state, steps=steps)
    assert y.dtype == dtype
    assert relative_error(y, want) < limit
    for (_, got), (_, ref) in zip(state_leaves(spec, final), state_leaves(spec, last), strict=True):
        assert relative_error(got, ref) < limit
    exact = gradient(given.weights, given.x, given.state, given.cotangents, steps=steps)
    assert set(slopes) == set(exact)
    for leaf, ref in exact.items():
        assert slopes[leaf].dtype == dtype
        assert relative_error(slopes[leaf], ref) < limit


def test_execute_without_state_or_cotangents():
    given = problem(Case("plain", SPECS["lstm-1d"], (5,), state=False), "float32")
    y, final, slopes = backend.execute(given.weights, given.x)
    want, _ = run(given.weights, given.x)
    assert_close(y, want, eps=84)
    assert slopes == {}
    _, _, slopes = backend.execute(given.weights, given.x, cotangents=given.cotangents)
    assert set(slopes) == {"x", *parameter_shapes(given.weights.spec)}
    assert len(final[0]) == 2
    with pytest.raises(TypeError, match="ConvLSTM expected no steps"):
        backend.execute(given.weights, given.x, steps=3)
    with pytest.raises(UnsupportedError, match="no device 'cuda:99'"):
        backend.execute(given.weights, given.x, device="cuda:99")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_execute_in_half_precision(dtype):
    given = problem(Case("half", SPECS["gru"], (4, 5)), dtype)
    y, _, _ = backend.execute(given.weights, given.x, given.state, cotangents=given.cotangents)
    want, _ = run(given.weights, given.x, given.state)
    assert y.dtype == given.x.dtype
    assert relative_error(y, want) < 16 * float(jnp.finfo(dtype).eps)


def test_float64_module_outside_64_bit_mode(weights):
    given = weights(SPECS["gru-after"], dtype="float64")
    net = backend.build(given)
    x = np.zeros((1, 2, 4, 4, 2))
    with pytest.raises(UnsupportedError, match="float64 only in 64-bit mode"):
        net(x)
    with jax.enable_x64(True):
        assert net(x)[0].dtype == jnp.float64


def test_describes_itself():
    assert {"flax", "jax", "jaxlib"} <= set(backend.versions())
    assert "cpu" in backend.devices()
    assert all(isinstance(note, str) for note in backend.notes())
    with backend.precise():
        assert jax.config.jax_default_matmul_precision == "highest"


@pytest.mark.gpu
@pytest.mark.parametrize("name", SPECS)
def test_gpu(name):
    device = next((found for found in backend.devices() if found != "cpu"), None)
    if device is None:
        pytest.skip(f"JAX sees no GPU here: only {', '.join(backend.devices())}")
    steps = 2 if name == "forecaster" else None
    given = problem(Case(name, SPECS[name], (4, 6)[: SPECS[name].ndim], steps=steps), "float32")
    with backend.precise():
        y, _, slopes = backend.execute(
            given.weights, given.x, given.state, steps=steps, cotangents=given.cotangents, device=device
        )
    want, _ = run(given.weights, given.x, given.state, steps=steps)
    assert_close(y, want, eps=168)
    exact = gradient(given.weights, given.x, given.state, given.cotangents, steps=steps)
    assert all(relative_error(slopes[leaf], ref) < 5e-5 for leaf, ref in exact.items())
    net = backend.build(given.weights, device=device)
    assert {str(d.platform) for array in net.arrays().values() for d in array.devices()} == {"gpu"}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SPECS)
def test_msgpack_round_trip(name, dtype, weights, tmp_path):
    given = weights(SPECS[name], dtype=dtype)
    path = tmp_path / "net.msgpack"
    checkpoint.write(given, path)
    assert [p.name for p in tmp_path.iterdir()] == ["net.msgpack"]
    assert convgru.read(path).equal(given)
    tree = serialization.msgpack_restore(path.read_bytes())
    assert set(tree) == {"spec", "params", "sha256"}
    assert all(tree["params"][n].tobytes() == a.tobytes() for n, a in given.arrays.items())


def test_msgpack_params_fill_a_module(weights, tmp_path):
    """The params of a file are what a Flax user needs, without convgru.read."""
    given = weights(SPECS["gru"])
    checkpoint.write(given, tmp_path / "net.msgpack")
    params = serialization.msgpack_restore((tmp_path / "net.msgpack").read_bytes())["params"]
    net = cf.ConvGRU(2, [4, 3], [3, (2, 4)], rngs=nnx.Rngs(0))
    state = nnx.state(net)
    nnx.replace_by_pure_dict(state, nested(params))
    nnx.update(net, state)
    assert backend.extract(net).equal(given)


def nested(params):
    tree = {}
    for name, array in params.items():
        *path, last = name.split(".")
        node = tree
        for part in path:
            node = node.setdefault(int(part) if part.isdigit() else part, {})
        node[last] = array
    return tree


def test_states_nest():
    spec = SPECS["lstm-1d"]
    leaves = {"state.0.h": 1, "state.0.c": 2}
    assert dict(state_leaves(spec, nest_state(spec, leaves))) == leaves


@pytest.mark.parametrize("name", WHOLE)
def test_names_and_round_trips(name, weights, tmp_path):
    backend, given = registry.get("flax"), weights(WHOLE[name])
    net = backend.build(given)
    assert net.spec == WHOLE[name]
    assert list(net.arrays()) == list(parameter_shapes(WHOLE[name]))
    assert {".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(net))} == set(net.arrays())
    assert backend.extract(net).equal(given)
    assert nnx.clone(net).spec == net.spec
    checkpoint.write(given, tmp_path / "net.msgpack")
    assert convgru.read(tmp_path / "net.msgpack").equal(given)


@pytest.mark.parametrize(
    "spec", [network("lstm", 2, 7, ndim=1), forecaster("gru", 1, 7, ndim=1)], ids=["network", "forecaster"]
)
def test_execute_runs_the_programs_that_convgru_jax_compiled(spec, caplog):
    """Forward and backward: only the transposes to and from (B, T, …) are Flax's own."""
    steps = 2 if spec.title == "Forecaster" else None
    given = make_problem(convgru.init(spec, 5), (9,), "float32", steps=steps)  # no other test's sizes
    compiled = {}
    for room in ("jax", "flax"):
        caplog.clear()
        with jax.log_compiles(), caplog.at_level("WARNING"):
            registry.get(room).execute(given.weights, given.x, given.state, steps=steps, cotangents=given.cotangents)
        found = [
            re.match(r"Finished XLA compilation of jit\((\w+)\)", record.getMessage()) for record in caplog.records
        ]
        compiled[room] = [match[1] for match in found if match]
    name = "run" if steps is None else "forecast"
    assert compiled["jax"].count(name) == 2
    assert name not in compiled["flax"]
