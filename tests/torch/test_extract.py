"""extract sees through wrappers, reads weights as computed, and leaves the module as it was."""

import pytest
import torch
from torch import distributed, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.nn.utils import parametrizations

import convgru
from convgru import WeightsError
from convgru.torch import ConvGRU, ConvLSTM, ConvLSTMCell, Forecaster
from convgru.torch.compat.convlstm_pytorch import ConvLSTM as DropIn

NETS = {
    "network": lambda: ConvGRU(2, [3, 2]),
    "cell": lambda: ConvLSTMCell(2, 3),
    "forecaster": lambda: Forecaster("lstm", 1, 3, patch=2),
    "drop-in": lambda: DropIn(2, 3, (3, 3), 1),
}


@pytest.fixture
def group():
    """A process group of one."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize("name", NETS)
def test_extract_and_port_look_within(name, group):
    net = NETS[name]()
    want = convgru.extract(net)
    parallel = nn.DataParallel(net)
    for wrapped in (torch.compile(net), parallel, nn.parallel.DistributedDataParallel(net), torch.compile(parallel)):
        assert convgru.extract(wrapped).equal(want)
        assert convgru.extract(convgru.port(wrapped, "torch")).equal(want)


def test_layers_that_are_wrapped(tmp_path):
    """Names in the state dict are the wrappers'; extract, read and load see the network."""
    net, other = (ConvGRU(2, [3, 4], bidirectional=True) for _ in range(2))
    want = convgru.extract(net)
    for direction in ("fwd", "bwd"):
        net.layers[1][direction] = checkpoint_wrapper(net.layers[1][direction])
    net.layers[0]["fwd"] = torch.compile(net.layers[0]["fwd"])
    assert "layers.0.fwd._orig_mod.weight_ih" in net.state_dict()
    assert convgru.extract(net).equal(want)
    assert convgru.extract(checkpoint_wrapper(other)).equal(convgru.extract(other))
    torch.save(net.state_dict(), tmp_path / "net.pt")
    assert convgru.read(tmp_path / "net.pt").equal(want)
    convgru.load(net, convgru.extract(other))
    assert convgru.extract(net).equal(convgru.extract(other))


def test_what_is_wrapped_must_be_ours():
    for other in (nn.Conv2d(1, 1, 1), nn.DataParallel(nn.Conv2d(1, 1, 1)), torch.compile(nn.Conv2d(1, 1, 1))):
        with pytest.raises(TypeError, match=r"expected a network of convgru\.torch"):
            convgru.extract(other)


def replaced(**options):
    net = ConvGRU(2, 3)
    net.layers[0]["fwd"] = ConvGRU(2, 3, **options).layers[0]["fwd"]
    return net


def turned():
    net = ConvGRU(2, 3, bidirectional=True)
    net.layers[0]["fwd"] = net.layers[0]["bwd"]
    return net


def with_readout(**options):
    net = Forecaster("gru", 2, 3)
    net.readout = nn.Conv2d(3, 2, **options)
    return net


# A part that computes something else than the spec, which files and other frameworks would take.
REPLACED = {
    "dilation": (lambda: replaced(dilation=2), r"layers\.0\.fwd expected the layer of .*, got .*dilation=2"),
    "zoneout": (lambda: replaced(zoneout=0.5), r"layers\.0\.fwd expected zoneout=0\.0, got a layer of zoneout=0\.5"),
    "direction": (turned, r"layers\.0\.fwd expected reverse=False, got a layer of reverse=True"),
    "readout without bias": (lambda: with_readout(kernel_size=1, bias=False), "readout expected .* a bias, got Conv2d"),
    "readout's kernel": (
        lambda: with_readout(kernel_size=3, padding=1),
        "readout expected .* kernel of 1 .*, got Conv",
    ),
}


@pytest.mark.parametrize("name", REPLACED)
def test_a_replaced_part_is_refused_by_call_and_extract(name):
    make, message = REPLACED[name]
    net, x = make(), torch.randn(3, 2, 2, 4, 4)
    with pytest.raises(ValueError, match=message):
        net(x, 2) if isinstance(net, Forecaster) else net(x)
    with pytest.raises(ValueError, match=message):
        convgru.extract(net)


def test_a_replaced_layer_of_the_same_spec():
    net, other = ConvGRU(2, 3), ConvGRU(2, 3)
    net.layers[0]["fwd"] = other.layers[0]["fwd"]
    assert convgru.extract(net).equal(convgru.extract(other))


@pytest.mark.parametrize("option", [{"zoneout": 0.1}, {"bidirectional": True}], ids=str)
def test_a_layer_that_weights_of_one_layer_do_not_tell(option):
    net = ConvGRU(2, 3, **option)
    with pytest.raises(WeightsError, match=r"got one of its layers with (zoneout=0\.1|reverse=True), which"):
        convgru.extract(net.layers[0][net.spec.directions[-1]])


def test_tied_layers():
    net, other = ConvGRU(3, 3, num_layers=2), ConvGRU(3, 3, num_layers=2)
    for each in (net, other):
        each.layers[1] = each.layers[0]
    convgru.load(net, convgru.extract(other))
    assert convgru.extract(net).equal(convgru.extract(other))
    with pytest.raises(
        WeightsError, match=r"fwd\.weight_ih and layers\.1\.fwd\.weight_ih are one parameter, the weights"
    ):
        convgru.load(net, convgru.extract(ConvGRU(3, 3, num_layers=2)))
    assert convgru.extract(net).equal(convgru.extract(other))


def test_extract_leaves_the_module_as_it_was():
    net = ConvGRU(2, 3).train()
    net.layers[0].eval()
    parametrizations.spectral_norm(net.layers[0]["fwd"].train(), "weight_ih")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    first = convgru.extract(net)
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert convgru.extract(net).equal(first)
    assert convgru.extract(net.eval()).equal(first)


def test_arrays_change_nothing_and_are_up_to_date():
    """The readout's too; and in training, where a call would move spectral norm's vectors."""
    net = Forecaster("gru", 1, 3, patch=2)
    cell, readout = net.encoder.layers[0]["fwd"], net.readout
    parametrizations.spectral_norm(cell, "weight_ih")
    torch.nn.utils.weight_norm(readout, "weight")
    before = {name: array.clone() for name, array in net.state_dict().items()}
    arrays = net.train().arrays()
    assert all(array.equal(before[name]) for name, array in net.state_dict().items())
    readout.weight_g.data.mul_(2.0)
    torch.testing.assert_close(net.arrays()["readout.weight"], 2.0 * arrays["readout.weight"])


def test_extract_is_not_behind_the_optimizer():
    """The hooks compute a weight when the module is called: here the parts have changed since."""
    net = ConvGRU(2, 3)
    cell = net.layers[0]["fwd"]
    torch.nn.utils.weight_norm(cell, "weight_ih")
    before = torch.from_numpy(convgru.extract(net).arrays["layers.0.fwd.weight_ih"])
    cell.weight_ih_g.data.mul_(2)
    torch.testing.assert_close(torch.from_numpy(convgru.extract(net).arrays["layers.0.fwd.weight_ih"]), 2 * before)


def test_extract_of_the_meta_device_says_so():
    for net in (ConvGRU(2, 3, device="meta"), ConvLSTM(2, 3).to("meta"), DropIn(2, 3, (3, 3), 1).to("meta")):
        with pytest.raises(WeightsError, match=rf"{type(net).__name__} that holds numbers, .* is on the meta device"):
            convgru.extract(net)
