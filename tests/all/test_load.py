"""convgru.load: weights into a part of the user's own model, in place, whole or not at all.

The part may be a cell, a layer, a network or a forecaster.
"""

from __future__ import annotations

import importlib

import pytest
from support import load_golden

import convgru
from convgru import registry

INSTALLED = [name for name, found in registry.available().items() if not isinstance(found, str)]
MODULES = [name for name in INSTALLED if name != "jax"]
SPECS = {
    "network": convgru.network("gru", 2, [3, 4], reset="after", bidirectional=True),
    "updates": convgru.network("gru", 2, 3, updates=((1, 5), (5, 1))),
    "lstm": convgru.network("lstm", 2, 3, peephole="hadamard", norm=1),
    "forecaster": convgru.forecaster("gru", 1, 3, patch=2, decoder=True),
}


def new_cell(name):
    """A ConvGRU cell made by the user, with initial weights of its own."""
    face = importlib.import_module(f"convgru.{name}")
    if name == "flax":
        from flax import nnx

        return face.ConvGRUCell(2, 3, (3, 3), rngs=nnx.Rngs(0))
    return face.ConvGRUCell(2, 3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("name", MODULES)
def test_every_byte_arrives_in_place(name, spec, dtype):
    net = convgru.build(convgru.init(SPECS[spec], seed=1, dtype=dtype), name)
    weights = convgru.init(SPECS[spec], seed=2, dtype=dtype)
    assert convgru.load(net, weights) is None
    assert convgru.extract(net).equal(weights)
    for array in weights.arrays.values():
        array += 1  # the module holds copies
    assert convgru.extract(net).equal(convgru.init(SPECS[spec], seed=2, dtype=dtype))


@pytest.mark.parametrize("name", MODULES)
def test_a_cell_takes_the_weights_of_a_network_of_one_layer(name):
    cell, weights = new_cell(name), convgru.init(convgru.network("gru", 2, 3), seed=3)
    convgru.load(cell, weights)
    assert convgru.extract(cell).equal(weights)


@pytest.mark.parametrize("name", MODULES)
def test_dropout_may_differ(name):
    net = convgru.build(convgru.init(convgru.network("gru", 2, [3, 3], dropout=0.5)), name)
    weights = convgru.init(convgru.network("gru", 2, [3, 3]), seed=4)
    convgru.load(net, weights)
    assert convgru.extract(net).spec.dropout == 0.5
    assert dict(convgru.extract(net).arrays).keys() == dict(weights.arrays).keys()


WRONG = {
    "stride": ({"stride": 2}, "float32", r"weights of ConvGRU\(2, 3, .*they differ in stride 1 \(the default\), got 2"),
    "padding and reset": (
        {"padding": "valid", "reset": "after"},
        "float32",
        r"padding 'same' \(the default\), got 'valid'.*reset .*, got 'after'",
    ),
    "channels": ({"hidden_channels": 4}, "float32", "hidden_channels 3, got 4"),
    "cell": ({"cell": "lstm"}, "float32", "kind 'ConvGRU', got 'ConvLSTM'"),
    "updates": (
        {"updates": ((1, 3), (3, 1))},
        "float32",
        r"they differ in updates \(\) \(the default\), got \[\[1, 3\], \[3, 1\]\]$",
    ),
    "dtype": ({}, "float64", r"expected dtype float32, got float64: weights\.astype\('float32'\) rounds them"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", MODULES)
def test_what_does_not_fit_is_named_and_loads_nothing(name, wrong):
    changes, dtype, message = WRONG[wrong]
    net = convgru.build(convgru.init(convgru.network("gru", 2, 3), seed=1), name)
    arguments = {"cell": "gru", "in_channels": 2, "hidden_channels": 3, **changes}
    with pytest.raises(convgru.WeightsError, match=message):
        convgru.load(net, convgru.init(convgru.network(**arguments), seed=2, dtype=dtype))
    assert convgru.extract(net).equal(convgru.init(convgru.network("gru", 2, 3), seed=1))


@pytest.mark.parametrize("name", INSTALLED)
def test_what_is_no_module_of_ours_is_a_type_error(name):
    weights = convgru.init(convgru.network("gru", 2, 3))
    with pytest.raises(TypeError, match=r"expected convgru\.Weights, got dict"):
        convgru.load(convgru.build(weights, name), {})
    with pytest.raises(
        TypeError,
        match=r"load expected a network, cell or layer of convgru\.torch, convgru\.flax or .* of a larger model pass the part",
    ):
        convgru.load(object(), weights)
    if name == "jax":
        with pytest.raises(TypeError, match=r'params are replaced: spec, params = convgru\.build\(weights, "jax"\)'):
            convgru.load(convgru.build(weights, name), weights)


@pytest.mark.skipif("torch" not in INSTALLED, reason="PyTorch is not installed")
class TestTorch:
    """What PyTorch hangs on a module's parameters stays where it is."""

    def test_parameters_and_optimizer_stay(self):
        import torch

        class Model(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.gru = convgru.torch.ConvGRU(2, 3)

        model = Model()
        before = [parameter.data_ptr() for parameter in model.parameters()]
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        weights = convgru.init(convgru.network("gru", 2, 3), seed=5)
        convgru.load(model.gru, weights)
        assert [parameter.data_ptr() for parameter in model.parameters()] == before
        model.gru(torch.ones(2, 1, 2, 4, 4))[0].sum().backward()
        optimizer.step()
        assert not convgru.extract(model.gru).equal(weights)
        with pytest.raises(TypeError, match="pass the part"):
            convgru.load(model, weights)

    def test_a_layer_of_a_stack(self):
        net = convgru.torch.ConvGRU(2, [3, 4])
        layer = convgru.init(convgru.network("gru", 3, 4), seed=6)
        first = net.layers[0].fwd.weight_ih.clone()
        convgru.load(net.layers[1].fwd, layer)
        arrays = convgru.extract(net).arrays
        assert all((arrays[f"layers.1{n.removeprefix('layers.0')}"] == a).all() for n, a in layer.arrays.items())
        assert (net.layers[0].fwd.weight_ih == first).all()

    def test_parameters_that_cannot_be_filled_are_named(self):
        import torch

        weights = convgru.init(convgru.network("gru", 2, 3))
        net = convgru.torch.ConvGRU(2, 3)
        torch.nn.utils.parametrizations.weight_norm(net.layers[0].fwd, "weight_hh")
        before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        with pytest.raises(convgru.WeightsError, match=r"no parameter layers\.0\.fwd\.weight_hh: if it is computed"):
            convgru.load(net, weights)
        assert all((net.state_dict()[name] == tensor).all() for name, tensor in before.items())
        with pytest.raises(convgru.WeightsError, match=r"is on the meta device: to_empty\(device=\.\.\.\)"):
            convgru.load(convgru.torch.ConvGRU(2, 3, device="meta"), weights)


@pytest.mark.skipif("torch" not in INSTALLED, reason="PyTorch is not installed")
@pytest.mark.parametrize(("golden", "layout"), [("raft_convgru", "raft"), ("raft_sepconvgru", "raft_sep")])
def test_the_recurrent_part_of_rafts_model_is_swapped_and_written_back(tmp_path, golden, layout):
    """From RAFT's checkpoint into a cell inside another model, and back, byte for byte."""
    import torch

    meta, state_dict, _ = load_golden(f"foreign/{golden}")
    torch.save({name: torch.from_numpy(array) for name, array in state_dict.items()}, tmp_path / "raft.pt")
    original = convgru.read(tmp_path / "raft.pt", prefix=meta["prefix"])
    model = torch.nn.ModuleDict({"gru": convgru.build(original, "torch", cell=True)})
    convgru.load(model["gru"], convgru.init(original.spec, dtype=str(original.dtype)))
    assert not convgru.extract(model["gru"]).equal(original)
    convgru.load(model["gru"], original)
    convgru.write(convgru.extract(model["gru"]), tmp_path / "gru.pt", layout=layout, prefix=meta["prefix"])
    back = torch.load(tmp_path / "gru.pt", weights_only=True)
    assert sorted(back) == sorted(name for name in state_dict if name.startswith(meta["prefix"]))
    assert all(tensor.numpy().tobytes() == state_dict[name].tobytes() for name, tensor in back.items())


def test_import_star_leaves_the_standard_inspect_alone():
    import inspect

    names = {}
    exec("import inspect\nfrom convgru import *", names)
    assert names["inspect"] is inspect
    assert "load" in names
    assert convgru.inspect is not inspect
