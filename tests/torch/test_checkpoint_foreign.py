"""Foreign .pt files: nested and renamed ones are read, memory bombs refused before they unfold."""

from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

import convgru
from convgru import WeightsError
from convgru.torch import ConvGRU, ConvGRUCell, ConvLSTM, Forecaster
from convgru_torch import checkpoint


def other(seed=0):
    """A state dict of ConvLSTM_pytorch's."""
    torch.manual_seed(seed)
    return {"cell_list.0.conv.weight": torch.randn(12, 5, 3, 3), "cell_list.0.conv.bias": torch.randn(12)}


def named(start, state):
    return {start + name: value for name, value in state.items()}


@pytest.fixture
def saved(tmp_path):
    def save(thing, name="net.pt", **options):
        torch.save(thing, tmp_path / name, **options)
        return tmp_path / name

    return save


ADAM = torch.optim.Adam(nn.Linear(2, 2).parameters()).state_dict()
NESTED = {
    "as it is": other(),
    "lightning": {
        "state_dict": named("net.", other()),
        "epoch": 3,
        "optimizer_states": [ADAM],
        "hyper_parameters": {"lr": 0.1},
    },
    "model": {"model": other(), "optimizer": ADAM, "lr_scheduler": {"x": torch.zeros(2)}},
    "model_state_dict": {"model_state_dict": other(), "optimizer_state_dict": ADAM, "loss": torch.tensor(1.0)},
    "net and params": {"net": {"params": other()}},
    "e2vid": {"arch": "E2VIDRecurrent", "epoch": 1, "model": {"num_bins": 5}, "state_dict": other()},
    "optimiser by name": {"model": other(), "optim": {"state": named("exp_avg.", other(1))}},
    "data parallel": named("module.", other()),
    "compiled": named("_orig_mod.", other()),
    "compiled inside": named("net._orig_mod.", other()),
    "both, in lightning": {"state_dict": named("model.module._orig_mod.", other())},
    "fsdp": named("_fsdp_wrapped_module.net._checkpoint_wrapped_module.", other()),
    "averaged": {"n_averaged": torch.tensor(3), **named("module.", other())},
    "parameters": {name: nn.Parameter(value) for name, value in other().items()},
    "ordered": OrderedDict(other()),
    "other objects": {
        **named("lstm.", other()),
        "head.weight": torch.ones(3, 3),
        "n": torch.tensor(1),
        "c": Counter([1]),
        "t": "x",
    },
    "float8 and complex": {
        **named("net.", other()),
        "a": torch.zeros(3).to(torch.float8_e4m3fn),
        "b": torch.zeros(2).cfloat(),
    },
    "halves of one storage": {n: torch.stack([v, v])[1] for n, v in other().items()},
    "transposed": {n: v.transpose(0, -1).contiguous().transpose(0, -1) for n, v in other().items()},
}


@pytest.mark.parametrize("name", NESTED)
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin", ".pth.tar"])
def test_somebodys_checkpoint(saved, name, suffix):
    want = convgru.adopt(other())
    assert convgru.read(saved(NESTED[name], f"net{suffix}")).equal(want)


@pytest.mark.parametrize("name", ["as it is", "lightning", "data parallel"])
def test_the_old_serialisation(saved, name):
    assert convgru.read(saved(NESTED[name], _use_new_zipfile_serialization=False)).equal(convgru.adopt(other()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_every_dtype(saved, dtype):
    weights = convgru.read(saved({name: value.to(dtype) for name, value in other().items()}))
    assert str(weights.dtype) == str(dtype).removeprefix("torch.")
    assert (
        weights.arrays["layers.0.fwd.bias"][:3] == other()["cell_list.0.conv.bias"].to(dtype)[:3].float().numpy()
    ).all()


def test_an_average_of_the_weights_is_not_chosen_in_silence(saved):
    path = saved({"state_dict": other(), "ema_state_dict": other(1)})
    assert set(checkpoint.contents(path).arrays) == {
        f"{k}.{n}" for k in ("state_dict", "ema_state_dict") for n in other()
    }
    with pytest.raises(WeightsError):
        convgru.read(path)
    assert convgru.read(path, prefix="ema_state_dict.").equal(convgru.adopt(other(1)))
    assert convgru.read(path, prefix="state_dict.").equal(convgru.adopt(other()))


def test_one_state_dict_under_two_keys_is_one(saved):
    state = other()
    assert convgru.read(saved({"model": state, "best": state})).equal(convgru.adopt(state))


def test_a_state_dict_that_holds_itself(saved):
    state = other()
    state["again"] = state
    assert convgru.read(saved(state)).equal(convgru.adopt(other()))


class Pair(nn.Module):
    """Two networks in one model."""

    def __init__(self):
        super().__init__()
        self.first, self.second = ConvGRU(2, 3), ConvLSTM(2, [3, 4])


def test_several_networks_of_ours_are_chosen_by_prefix(saved):
    net = Pair()
    path = saved({"state_dict": net.state_dict(), "epoch": 3})
    with pytest.raises(WeightsError, match=r"choose by prefix= of 'first\.', 'second\.'"):
        convgru.read(path)
    with pytest.raises(WeightsError, match=r"begin with 'third', only 'first\.', 'second\.'"):
        convgru.read(path, prefix="third")
    for prefix in ("first", "first."):
        assert convgru.read(path, prefix=prefix).equal(convgru.extract(net.first))
    assert convgru.read(path, prefix="second").equal(convgru.extract(net.second))


@pytest.mark.parametrize(
    "wrap", [nn.DataParallel, torch.compile, lambda net: nn.Sequential(nn.Conv2d(1, 1, 1), nn.DataParallel(net))]
)
@pytest.mark.parametrize("make", [lambda: ConvGRU(2, 3), lambda: Forecaster("lstm", 1, 2), lambda: ConvGRUCell(2, 3)])
def test_ours_through_wrappers(saved, wrap, make):
    net = make()
    for state in (wrap(net).state_dict(), {"state_dict": wrap(net).state_dict()}):
        assert convgru.read(saved(state)).equal(convgru.extract(net))


def test_ours_whose_metadata_were_lost(saved):
    net = ConvGRU(2, [3, 4], dilation=2)
    path = saved({"state_dict": dict(named("module.", net.state_dict()))})
    with pytest.raises(WeightsError, match="layout='convgru' derives it"):
        convgru.read(path)
    assert convgru.read(path, "convgru", dilation=2).equal(convgru.extract(net))


def test_what_is_read_shares_nothing_with_the_file(saved):
    path = saved(ConvGRU(2, 3).state_dict())
    first = convgru.read(path)
    first.arrays["layers.0.fwd.bias"][:] = 7
    assert not (convgru.read(path).arrays["layers.0.fwd.bias"] == 7).any()


def test_a_ckpt_that_is_neither(tmp_path):
    (tmp_path / "w.ckpt").write_bytes(b"hello")
    try:
        convgru.registry.get("mindspore")
    except ImportError:
        with pytest.raises(ImportError, match=r"convgru\[mindspore\]"):
            convgru.read(tmp_path / "w.ckpt")
    else:
        with pytest.raises(WeightsError, match=r"w\.ckpt"):
            convgru.read(tmp_path / "w.ckpt")


def test_many_views_of_one_storage_take_no_memory(saved):
    numbers = torch.zeros(1 << 20)
    contents = checkpoint.contents(saved({f"{i}.weight": numbers.view(1 << 10, 1 << 10) for i in range(3000)}))
    assert len(contents.arrays) == 3000
    assert len({array.__array_interface__["data"][0] for array in contents.arrays.values()}) == 1
    assert all(np.shares_memory(array, contents.arrays["0.weight"]) for array in list(contents.arrays.values())[:5])


def test_a_file_with_networks_of_convgru_and_of_others(tmp_path):
    ours, theirs = convgru.torch.ConvGRU(1, 2), convgru.torch.ConvLSTM(1, 2)
    state = torch.nn.ModuleDict({"ours": ours}).state_dict()
    for name, array in convgru.importers.export(convgru.extract(theirs), "convlstm_pytorch").items():
        state[f"theirs.{name}"] = torch.from_numpy(array)
    torch.save(state, tmp_path / "w.pt")
    assert [each.prefix for each in convgru.inspect(tmp_path / "w.pt").networks] == ["ours.", "theirs."]
    for prefix, net in (("ours", ours), ("theirs", theirs)):
        assert convgru.read(tmp_path / "w.pt", prefix=prefix).equal(convgru.extract(net))
        (network,) = convgru.inspect(tmp_path / "w.pt", prefix=prefix).networks
        assert network.prefix == f"{prefix}."
    with pytest.raises(convgru.WeightsError, match=r"names begin with 'other', only 'ours\.'"):
        convgru.read(tmp_path / "w.pt", prefix="other")
