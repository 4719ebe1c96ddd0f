"""Networks or layers wrapped by torch.compile, DataParallel and the like are read as themselves."""

import pytest
import torch
from torch import distributed, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

import convgru
from convgru.torch import ConvGRU, ConvLSTMCell, Forecaster
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
