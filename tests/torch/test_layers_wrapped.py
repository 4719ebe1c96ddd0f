"""Layers in FSDP2, activation checkpoints, torch.compile, and made on the meta device."""

import copy

import pytest
import torch
from sharded_processes import filled, initialise_as_one_of_two
from support.torch_layers import NETS, backward, call, layers_of, same, x_of
from torch import distributed, nn
from torch.distributed.algorithms._checkpoint import checkpoint_wrapper as activation
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.utils.checkpoint import checkpoint

import convgru
from convgru.torch import ConvLSTM, Forecaster, Layer
from convgru_torch.parameters import Update


@pytest.fixture
def mesh():
    """A process group of one, on the CPU."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


@pytest.mark.parametrize("name", NETS)
def test_fully_shard_acts_on_a_layer(name, mesh):
    """FSDP2 gathers parameters before a layer's call and frees them after it; numbers are equal."""
    net, x = NETS[name](), x_of()
    want, slopes = backward(copy.deepcopy(net), x)
    for layer in layers_of(net):
        fully_shard(layer, mesh=mesh)
    fully_shard(net, mesh=mesh)
    got, sharded = backward(net, x)
    same(got, want)
    same({key: slope.full_tensor() for key, slope in sharded.items()}, slopes)
    if not isinstance(net, Forecaster) and net.spec.bidirectional is None:
        register_fsdp_forward_method(net, "step")
        assert torch.isfinite(net.step(x[0])[0]).all()


def test_fully_shard_in_mixed_precision(mesh):
    net, x = ConvLSTM(2, 3, num_layers=2), x_of().float()
    want = copy.deepcopy(net).bfloat16()(x.bfloat16())[0]
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16)
    for layer in layers_of(net):
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(net, mesh=mesh, mp_policy=policy)
    y, state = net(x)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, want)
    net(x, state)[0].float().sum().backward()
    assert {p.grad.dtype for p in net.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", NETS)
def test_deferred_initialisation(name):
    """From the meta device as FSDP does: to_empty, then reset_parameters of each holder."""
    with torch.device("meta"):
        net = NETS[name]()
    net.to_empty(device="cpu")
    for parameter in net.parameters():
        nn.init.constant_(parameter, torch.nan)
    for module in net.modules():
        if list(module.parameters(recurse=False)):
            module.reset_parameters()
    assert all(p.isfinite().all() for p in net.parameters())
    updates = [module for module in net.modules() if isinstance(module, Update)]
    assert bool(updates) == (name == "gru, updates")


@pytest.mark.parametrize("name", NETS)
def test_deferred_initialisation_of_shards(name, mesh):
    """The numbers that a network which is not sharded would draw."""
    with torch.device("meta"):
        net = NETS[name]()
    for layer in layers_of(net):
        fully_shard(layer, mesh=mesh)
    fully_shard(net, mesh=mesh)
    plain = NETS[name]()
    torch.manual_seed(1)
    got = filled(net)
    torch.manual_seed(1)
    plain.reset_parameters()
    same(got, dict(plain.named_parameters()))


def test_deferred_initialisation_in_two_processes(tmp_path):
    torch.multiprocessing.spawn(initialise_as_one_of_two, (tmp_path / "group", tmp_path / "out"), nprocs=2)
    first, second = (torch.load(tmp_path / f"out.{rank}") for rank in range(2))
    same(first, second)
    torch.manual_seed(0)
    plain = Forecaster("gru", 2, 4, norm=1, reset="after")
    torch.manual_seed(0)
    plain.reset_parameters()
    same(first, dict(plain.named_parameters()))


@pytest.mark.parametrize("reentrant", [False, True], ids=["non-reentrant", "reentrant"])
@pytest.mark.parametrize("name", NETS)
def test_activation_checkpointing_of_layers(name, reentrant):
    """torch.utils.checkpoint around each layer: equal numbers, gradients and random masks."""
    if reentrant and "lstm" in repr(NETS[name]()).lower():
        pytest.skip(
            "reentrant checkpointing loses the gradients of nested outputs, the (h, c) of an LSTM: torch says so"
        )
    net, x = NETS[name](), x_of().requires_grad_()
    want = backward(copy.deepcopy(net), x)
    calls = []
    for layer in layers_of(net):
        layer.register_forward_pre_hook(lambda m, args: calls.append(m))
    kind = activation.CheckpointImpl.REENTRANT if reentrant else activation.CheckpointImpl.NO_REENTRANT

    def wrap(module):
        return activation.checkpoint_wrapper(module, checkpoint_impl=kind)

    activation.apply_activation_checkpointing(net, wrap, check_fn=lambda m: isinstance(m, Layer))
    got, slopes = backward(net, x)
    same(got, want[0])
    same({key.replace("_checkpoint_wrapped_module.", ""): slope for key, slope in slopes.items()}, want[1])
    assert all(calls.count(layer) % 2 == 0 for layer in layers_of(net))  # each call once more in the backward pass
    assert net.state_dict().keys() == NETS[name]().state_dict().keys()
    assert convgru.extract(net).arrays.keys() == NETS[name]().arrays().keys()


def test_checkpoint_around_one_layer():
    layer, x = NETS["gru"]().layers[0]["fwd"], x_of().requires_grad_()
    want = layer(x)[0].square().sum()
    got = checkpoint(layer, x, use_reentrant=False)[0].square().sum()
    for left, right in zip(*(torch.autograd.grad(y, [x, *layer.parameters()]) for y in (got, want)), strict=True):
        same(left, right)


@pytest.mark.parametrize("name", NETS)
def test_a_compiled_layer(name):
    net, x = NETS[name]().eval(), x_of()
    want = call(net, x)[0]
    torch._dynamo.reset()
    for layer in layers_of(net):
        layer.compile(backend="eager", fullgraph=True)
    with torch._dynamo.config.patch(recompile_limit=64):
        torch.testing.assert_close(call(net, x)[0], want, rtol=1e-14, atol=1e-14)
