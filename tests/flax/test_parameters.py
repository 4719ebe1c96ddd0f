"""Initial values, initializers gate by gate, and metadata: sharding names survive everything."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.nn import initializers
from jax.sharding import PartitionSpec

import convgru
import convgru.flax as cf
import convgru.jax as cj
from convgru.spec import forecaster, network
from convgru.spec.shapes import parameter_shapes

MODULES = {
    "cell": (cf.ConvGRUCell, {"reset": "after"}),
    "lstm cell": (cf.ConvLSTMCell, {"peephole": "conv", "norm": 1}),
    "stack": (cf.ConvGRU, {"num_layers": 2, "bidirectional": True}),
    "updates": (cf.ConvGRU, {"updates": ((1, 5), (5, 1)), "groups": 2}),
    "rnn": (cf.ConvRNN, {"ndim": 1, "use_bias": False}),
}


def make(name, **options):
    kind, fixed = MODULES[name]
    return kind(4, 6, rngs=nnx.Rngs(0), **fixed, **options)


def params(module):
    return {".".join(map(str, path)): param for path, param in nnx.to_flat_state(nnx.state(module, nnx.Param))}


def last(name):
    return name.rpartition(".")[2]


def test_without_initializers_the_values_are_those_of_jax():
    rngs = nnx.Rngs(7)
    want = cj.init(network("lstm", 3, [4, 2]), nnx.Rngs(7).params())
    got = cf.ConvLSTM(3, [4, 2], rngs=rngs).arrays()
    assert want.keys() == got.keys()
    assert all(np.array_equal(got[name], array) for name, array in want.items())
    dropped = cf.ConvLSTM(3, [4, 2], dropout=0.5, rngs=nnx.Rngs(7)).arrays()
    assert all(np.array_equal(dropped[name], array) for name, array in want.items()), "dropout changes no parameter"


@pytest.mark.parametrize("name", MODULES)
def test_initializers_see_one_gate_and_group_in_the_layout_of_nnx_conv(name):
    seen = {"kernel": set(), "recurrent_kernel": set(), "bias": set()}

    def spy(role, number):
        def init(key, shape, dtype):
            seen[role].add(shape)
            return jnp.full(shape, number, dtype)

        return init

    given = {f"{role}_init": spy(role, number) for number, role in enumerate(seen, 1)}
    module = make(name, **given)
    layer = module.spec.layers[0]
    inside, outside, hidden = (n // layer.groups for n in (4, 6, 6))
    first = {(*step.kernel_size, inside, outside) for step in layer.steps}
    assert seen["kernel"] >= first
    assert seen["recurrent_kernel"] == {(*step.recurrent_kernel_size, hidden, outside) for step in layer.steps}
    assert seen["bias"] == ({(6,)} if layer.bias else set())
    plain = params(make(name))
    for path, param in params(module).items():
        want = {"weight_ih": 1, "weight_hh": 2, "bias": 3, "bias_hn": 3}.get(last(path))
        assert np.array_equal(param[...], plain[path][...] if want is None else np.full(param.shape, want)), path


def test_gates_are_drawn_by_themselves_and_transposed():
    """Row h of every gate holds what the initializer put at output h."""

    def numbered(key, shape, dtype):
        return jnp.arange(np.prod(shape), dtype=dtype).reshape(shape)

    cell = cf.ConvGRUCell(2, 3, (2, 4), kernel_init=numbered, rngs=nnx.Rngs(0))
    for gate in np.split(np.asarray(cell.weight_ih[...]), 3):
        assert np.array_equal(gate, np.arange(48).reshape(2, 4, 2, 3).transpose(3, 2, 0, 1))
    drawn = cf.ConvGRUCell(2, 3, kernel_init=initializers.normal(), rngs=nnx.Rngs(0)).weight_ih[...]
    one, two, three = np.split(np.asarray(drawn), 3)
    assert not np.array_equal(one, two)
    assert not np.array_equal(two, three)


def test_the_default_is_that_of_jax_nn_initializers():
    """Bounds and orthogonality of each gate and group are those of jax.nn.initializers."""
    net = cf.ConvGRU(4, 8, groups=2, rngs=nnx.Rngs(0))
    given = {"kernel_init": initializers.glorot_uniform(), "recurrent_kernel_init": initializers.orthogonal()}
    same = cf.ConvGRU(4, 8, groups=2, **given, rngs=nnx.Rngs(1))
    bound = np.sqrt(6 / ((2 + 4) * 9))
    for module in (net, same):
        arrays = module.arrays()
        assert 0.9 * bound < np.abs(arrays["layers.0.fwd.weight_ih"]).max() <= bound
        for block in np.asarray(arrays["layers.0.fwd.weight_hh"]).reshape(6, 4, -1):
            assert np.allclose(block @ block.T, np.eye(4), atol=1e-5)


@pytest.mark.parametrize("way", ["initializer", "metadata"])
@pytest.mark.parametrize("name", MODULES)
def test_sharding_names_are_kept(name, way):
    """On the parameter, through split and merge, a clone, an optimizer and eval_shape."""
    ndim = MODULES[name][1].get("ndim", 2)
    names = ("gates", None, *(None,) * ndim)
    if way == "metadata":
        given = {"kernel_metadata": {"out_sharding": names}, "bias_metadata": {"out_sharding": ("gates",)}}
    else:
        bias = nnx.with_partitioning(initializers.zeros, ("gates",))
        given = {"kernel_init": nnx.with_partitioning(initializers.lecun_normal(), names), "bias_init": bias}
    with nnx.use_eager_sharding(False):
        module = make(name, **given)
        copies = [module, nnx.clone(module), nnx.merge(*nnx.split(module)), nnx.eval_shape(lambda: make(name, **given))]
        for copy in copies:
            for path, param in params(copy).items():
                want = {"weight_ih": names, "bias": ("gates",), "bias_hn": ("gates",)}.get(last(path))
                assert param.get_metadata("out_sharding", None) == want, path
        specs = nnx.get_partition_spec(nnx.state(copies[-1], nnx.Param))
    want = PartitionSpec(*names)
    found = {".".join(map(str, path)): leaf.get_value() for path, leaf in nnx.to_flat_state(specs)}
    assert all(found[path] == want for path in found if last(path) == "weight_ih")


def test_metadata_beside_given_arrays():
    spec = network("gru", 2, 4)
    with nnx.use_eager_sharding(False):
        arrays = cf.ConvGRU.from_spec(spec, rngs=nnx.Rngs(0)).arrays()
        net = cf.ConvGRU.from_spec(spec, arrays=arrays, recurrent_kernel_metadata={"out_sharding": ("model",)})
    assert net.layers[0].fwd.weight_hh.get_metadata("out_sharding") == ("model",)
    assert "out_sharding" not in net.layers[0].fwd.weight_ih.get_metadata()
    with pytest.raises(ValueError, match="ConvGRU expected no kernel_init beside arrays, which need no initial values"):
        cf.ConvGRU.from_spec(spec, arrays=arrays, kernel_init=initializers.zeros)


def test_parameters_are_made_on_the_mesh():
    """Inside a mesh a constructor places each parameter by its names, as every nnx module does."""
    mesh = jax.make_mesh((1,), ("gates",), axis_types=(jax.sharding.AxisType.Auto,))
    with jax.set_mesh(mesh):
        net = cf.ConvGRU(2, 4, kernel_metadata={"out_sharding": ("gates", None, None, None)}, rngs=nnx.Rngs(0))
        assert net.layers[0].fwd.weight_ih[...].sharding.spec[0] == "gates"
        y, _ = net(jnp.ones((1, 2, 4, 4, 2)))
    assert y.shape == (1, 2, 4, 4, 4)


def test_a_forecasters_readout_keeps_its_own_initial_values():
    spec = forecaster("gru", 1, 3, decoder=True)
    net = cf.Forecaster.from_spec(spec, kernel_init=initializers.ones, rngs=nnx.Rngs(0))
    plain = cf.Forecaster.from_spec(spec, rngs=nnx.Rngs(0))
    for name, array in net.arrays().items():
        ones = last(name) == "weight_ih"
        assert np.array_equal(array, np.ones(array.shape) if ones else plain.arrays()[name]), name


def test_an_initializer_of_another_shape():
    with pytest.raises(ValueError, match=r"weight_ih: the initializer was asked for shape \(3, 3, 2, 4\), got \(4,\)"):
        cf.ConvGRU(2, 4, kernel_init=lambda key, shape, dtype: jnp.zeros(shape[-1]), rngs=nnx.Rngs(0))


def test_param_dtype_and_abstract_modules():
    net = cf.ConvGRU(2, 3, param_dtype=jnp.bfloat16, bias_init=initializers.ones, rngs=nnx.Rngs(0))
    assert {array.dtype for array in net.arrays().values()} == {jnp.dtype(jnp.bfloat16)}
    abstract = nnx.eval_shape(lambda: cf.ConvGRU(2, [4, 3], rngs=nnx.Rngs(0)))
    leaves = {name: param.get_value() for name, param in params(abstract).items()}
    assert {name: leaf.shape for name, leaf in leaves.items()} == parameter_shapes(abstract.spec)
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves.values())


@pytest.mark.parametrize("committed", [False, True])
def test_loaded_parameters_are_as_free_as_before(committed):
    """Those that were not committed to a device still follow other arrays to theirs."""
    net = cf.ConvGRU(2, 3, rngs=nnx.Rngs(0))
    if committed:
        nnx.update(net, jax.device_put(nnx.state(net), jax.devices()[0]))
    convgru.load(net, convgru.init(net.spec, 1))
    assert {array.committed for array in net.arrays().values()} == {committed}


@pytest.mark.parametrize("options", [{}, {"kernel_init": initializers.normal()}])
def test_no_key_is_used_twice(options):
    with jax.debug_key_reuse(True):
        cf.ConvGRU(2, 3, rngs=nnx.Rngs(0), **options)
