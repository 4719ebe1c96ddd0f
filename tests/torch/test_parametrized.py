"""State dicts behind weight and spectral norm, pruning, AveragedModel, FSDP2: read as computed."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch
from support import assert_close
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.utils import parametrizations, parametrize, prune
from torch.optim.swa_utils import AveragedModel

import convgru
from convgru import WeightsError
from convgru.formats.parametrized import with_weights
from convgru.torch import ConvGRU, Forecaster
from convgru.torch.compat.convlstm_pytorch import ConvLSTM as DropIn

SPECTRAL = torch.nn.utils.spectral_norm


def normed_by_hook(cell, name):
    torch.nn.utils.weight_norm(cell, name)
    getattr(cell, f"{name}_g").data.mul_(1.5)


def normed(cell, name):
    parametrizations.weight_norm(cell, name)
    cell.parametrizations[name].original0.data.mul_(1.5)


def normed_as_a_whole(cell, name):
    parametrizations.weight_norm(cell, name, dim=None)
    cell.parametrizations[name].original0.data.mul_(1.5)


def spectral_by_hook(cell, name):
    SPECTRAL(cell, name, n_power_iterations=3)
    (hook,) = (each for each in cell._forward_pre_hooks.values() if each.name == name)
    hook(cell, ())  # what a forward pass in training does


def pruned_and_normed(cell, name):
    normed(cell, name)
    prune.random_unstructured(cell.parametrizations[name], "original1", 0.3)


# What is done to a weight, and by how many eps of the weight's dtype the result may differ from
# torch's.
KINDS = {
    "weight_norm": (normed, 4),
    "weight_norm of the whole": (normed_as_a_whole, 8),
    "weight_norm by hook": (normed_by_hook, 4),
    "spectral_norm": (parametrizations.spectral_norm, 8),
    "spectral_norm by hook": (spectral_by_hook, 8),
    "prune": (lambda cell, name: prune.l1_unstructured(cell, name, 0.4), 0),
    "prune and weight_norm": (pruned_and_normed, 4),
}


def close(got, want, eps):
    assert got.spec == want.spec
    assert got.dtype == want.dtype
    assert_close(got.arrays, want.arrays, eps=eps)


@pytest.fixture
def save(tmp_path):
    def write(state):
        torch.save(state, tmp_path / "net.pt")
        return tmp_path / "net.pt"

    return write


@pytest.fixture
def mesh():
    """A device mesh of one process."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_in_parts(save, kind, dtype):
    change, eps = KINDS[kind]
    net = ConvGRU(2, [3, 4], bidirectional=True, dtype=torch.float32)
    for name in ("weight_ih", "weight_hh"):
        change(net.layers[1]["bwd"], name)
    net = net.to(dtype)
    live = convgru.extract(net)
    assert set(live.arrays) != set(net.state_dict())
    close(convgru.read(save(net.state_dict())), live, eps)
    without_spec = save(dict(net.state_dict()))
    with pytest.raises(WeightsError, match="layout='convgru' derives it from the shapes"):
        convgru.read(without_spec)
    with pytest.warns(UserWarning, match="assumed"):
        close(convgru.read(without_spec, "convgru"), live, eps)
    model = nn.ModuleDict({"core": net, "head": parametrizations.weight_norm(nn.Linear(2, 2))})
    close(convgru.read(save({"state_dict": model.state_dict()})), live, eps)


@pytest.mark.parametrize("kind", KINDS)
def test_another_system_in_parts(save, kind):
    change, eps = KINDS[kind]
    net = DropIn(2, 3, (3, 3), 1)
    change(net.cell_list[0].conv, "weight")
    live = convgru.extract(net)
    close(convgru.read(save(net.state_dict())), live, eps)
    close(convgru.adopt(net.state_dict()), live, eps)
    assert not live.equal(convgru.adopt(DropIn(2, 3, (3, 3), 1).state_dict()))


class Shift(nn.Module):
    """Somebody's own parametrization."""

    def forward(self, weight):
        return weight + 1


UNKNOWN = {
    "orthogonal": lambda cell: parametrizations.orthogonal(cell, "weight_hh"),
    "somebody's own": lambda cell: parametrize.register_parametrization(cell, "weight_hh", Shift()),
    "spectral_norm that never ran": lambda cell: SPECTRAL(cell, "weight_hh"),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_a_state_dict_does_not_tell_is_refused(save, kind):
    net = ConvGRU(2, 3)
    UNKNOWN[kind](net.layers[0]["fwd"])
    path = save(net.state_dict())
    for arguments in ({}, {"layout": "convgru"}):
        with pytest.raises(
            WeightsError,
            match=r"layers\.0\.fwd\.weight_hh is saved in parts, .*remove_(parametrizations|spectral_norm)\(",
        ):
            convgru.read(path, **arguments)
    if kind == "somebody's own":
        want = net.layers[0]["fwd"].weight_hh.detach()
        assert torch.equal(torch.from_numpy(convgru.extract(net).arrays["layers.0.fwd.weight_hh"]), want)
        parametrize.remove_parametrizations(net.layers[0]["fwd"], "weight_hh")
        assert convgru.read(save(net.state_dict())).equal(convgru.extract(net))


def test_an_older_hook_is_taken_off_by_its_own_function(save):
    net = ConvGRU(2, 3)
    layer = nn.utils.spectral_norm(net.layers[0]["fwd"], "weight_ih", dim=1)
    with pytest.raises(WeightsError, match=r"torch\.nn\.utils\.remove_spectral_norm\(module, name\)"):
        convgru.read(save(net.state_dict()))
    nn.utils.remove_spectral_norm(layer, "weight_ih")
    assert convgru.read(save(net.state_dict())).equal(convgru.extract(net))


def test_a_parametrization_elsewhere_harms_nothing(save):
    net = ConvGRU(2, 3)
    model = nn.ModuleDict({"core": net, "head": parametrizations.orthogonal(nn.Linear(2, 2))})
    assert convgru.read(save(model.state_dict())).equal(convgru.extract(net))


def test_another_system_behind_an_unknown_parametrization_is_told_why(save):
    net = DropIn(2, 3, (3, 3), 1)
    parametrize.register_parametrization(net.cell_list[0].conv, "weight", Shift())
    with pytest.raises(WeightsError, match=r"cell_list\.0\.conv\.weight is saved in parts"):
        convgru.adopt(net.state_dict())


def test_names_that_only_look_like_parts_stay():
    weight, rng = np.ones((4, 3)), np.random.default_rng(0)
    others = {
        "a weight of its own": {"w_g": np.ones((4, 1)), "w_v": weight, "w": weight},
        "sizes that do not fit": {"w_g": np.ones((3, 1)), "w_v": weight},
        "two axes kept": {"w_g": np.ones((4, 3)), "w_v": weight},
        "half of it": {"w_orig": weight, "w_u": np.ones(4)},
        "u and v of another matrix": {"w_orig": rng.standard_normal((4, 3)), "w_u": np.eye(4)[0], "w_v": np.zeros(3)},
        "a mask of numbers": {"w_orig": weight, "w_mask": 0.5 * weight},
        "integers": {"w_orig": weight.astype(int), "w_mask": weight.astype(int)},
        "two dtypes": {"w_g": np.ones((4, 1), np.float32), "w_v": weight},
    }
    for name, arrays in others.items():
        assert with_weights(arrays) == arrays, name


@pytest.mark.parametrize(
    "make", [lambda: ConvGRU(2, 3), lambda: Forecaster("lstm", 1, 2), lambda: DropIn(2, 3, (3, 3), 1)]
)
def test_averaged(save, make):
    net, other = make(), make()
    averaged = AveragedModel(net)
    for each in (net, other):
        averaged.update_parameters(each)
    live = convgru.extract(averaged)
    assert live.equal(convgru.extract(averaged.module))
    assert not live.equal(convgru.extract(net))
    assert convgru.extract(convgru.port(averaged, "torch")).equal(live)
    assert convgru.read(save(averaged.state_dict())).equal(live)
    assert convgru.read(save({"ema": averaged.state_dict(), "epoch": 3})).equal(live)
    whole = AveragedModel(nn.ModuleDict({"core": net}))
    assert convgru.read(save(whole.state_dict())).equal(convgru.extract(net))
    assert not convgru.inspect(save(averaged.state_dict())).left


@pytest.mark.parametrize("by_layer", [False, True])
def test_fsdp2(save, mesh, by_layer):
    net = ConvGRU(2, [3, 4])
    want = convgru.extract(net)
    if by_layer:
        for directions in net.layers:
            fully_shard(directions["fwd"], mesh=mesh)
    fully_shard(net, mesh=mesh)
    state = net.state_dict()
    assert all(hasattr(value, "full_tensor") for value in state.values())
    assert convgru.extract(net).equal(want)
    assert convgru.read(save(state)).equal(want)
    net(torch.randn(2, 1, 2, 4, 4))
    assert convgru.extract(net).equal(want)


def test_fsdp2_of_another_system(save, mesh):
    net = DropIn(2, 3, (3, 3), 1)
    want = convgru.adopt(net.state_dict())
    state = fully_shard(net, mesh=mesh).state_dict()
    assert convgru.adopt(state).equal(want)
    assert convgru.extract(net).equal(want)
    assert convgru.read(save(state)).equal(want)


def test_a_file_of_fsdp2_in_a_fresh_process(save, mesh):
    net = fully_shard(ConvGRU(2, 3), mesh=mesh)
    path = save(net.state_dict())
    code = "import convgru, sys; convgru.write(convgru.read(sys.argv[1]), sys.argv[2])"
    subprocess.run([sys.executable, "-c", code, path, path.with_suffix(".safetensors")], check=True)
    assert convgru.read(path.with_suffix(".safetensors")).equal(convgru.extract(net))


def test_a_shard_is_refused(save, mesh):
    from torch.distributed.tensor import DTensor, Shard

    state = ConvGRU(2, 3).state_dict()
    whole = DTensor.from_local(torch.zeros(9), mesh, [Shard(0)])
    whole._spec.tensor_meta = whole._spec.tensor_meta._replace(shape=torch.Size([18]))
    whole._local_tensor = torch.zeros(9)
    state["layers.0.fwd.bias"] = DTensor(torch.zeros(9), whole._spec, requires_grad=False)
    with pytest.raises(WeightsError, match=r"bias of shape \(18,\) is one process's shard, \(9,\): .*full_state_dict"):
        convgru.read(save(state))


def test_parts_that_share_their_numbers_ask_for_no_memory(save):
    """A file of a few bytes could name thousands of weights that are all made of the same ones."""
    net, one = ConvGRU(2, 3), torch.zeros(1 << 20).reshape(16, 1 << 16)
    state = net.state_dict()
    state.update({f"{i}.w{part}": one[:, :n] for i in range(200) for part, n in (("_g", 1), ("_v", 1 << 16))})
    path = save(state)
    tracemalloc.start()
    with pytest.raises(WeightsError, match=r"0\.w \(and 199 more\) is saved in parts"):
        convgru.read(path)
    assert tracemalloc.get_traced_memory()[1] < 100 << 20
    tracemalloc.stop()
