"""What the tests of FSDP2 run in processes of their own, which must be able to import it."""

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from convgru.torch import Forecaster


def filled(net):
    """Initialise a network that was made on the meta device and sharded; what it then holds."""
    net.to_empty(device="cpu")
    for parameter in net.parameters():
        nn.init.constant_(parameter, torch.nan)
    net.reset_parameters()
    return {name: parameter.full_tensor() for name, parameter in net.named_parameters()}


def initialise_as_one_of_two(rank, file, out):
    """One of two processes that shard a network before its parameters have numbers."""
    distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    torch.manual_seed(rank)
    with torch.device("meta"):
        net = Forecaster("gru", 2, 4, norm=1, reset="after")
    fully_shard(net, mesh=init_device_mesh("cpu", (2,)))
    torch.save(filled(net), f"{out}.{rank}")
    distributed.destroy_process_group()
