"""State dicts of another network with equal names and shapes: refused, naming both networks."""

import copy

import pytest
import torch
from torch import nn

import convgru
from convgru.torch import ConvGRU, ConvGRUCell, ConvLSTM, ConvRNN, Forecaster

# What differs, and how the error names it.
DIFFERENCES = {
    "reset without bias": (ConvGRU, {"bias": False}, {"bias": False, "reset": "after"}, "reset='after'"),
    "dilation": (ConvGRU, {}, {"dilation": 2, "recurrent_dilation": 1}, "dilation=2"),
    "recurrent dilation": (ConvRNN, {}, {"recurrent_dilation": 2}, "recurrent_dilation=2"),
    "stride": (ConvLSTM, {}, {"stride": (1, 2)}, r"stride=\(1, 2\)"),
    "recurrent stride": (ConvGRU, {}, {"recurrent_stride": 2}, "recurrent_stride=2"),
    "padding": (ConvLSTM, {}, {"padding": "valid"}, "padding='valid'"),
    "padding mode": (ConvLSTM, {}, {"padding_mode": "circular"}, "padding_mode='circular'"),
    "activation": (ConvRNN, {}, {"activation": "relu"}, "activation='relu'"),
    "recurrent activation": (
        ConvGRU,
        {},
        {"recurrent_activation": "hard_sigmoid"},
        "recurrent_activation='hard_sigmoid'",
    ),
    "norm groups": (ConvLSTM, {"norm": 1}, {"norm": 3}, "norm=3"),
    "norm eps": (ConvRNN, {"norm": 1}, {"norm": convgru.spec.Norm((1,), 1e-3)}, "eps=0.001"),
    "merge": (ConvGRU, {"bidirectional": True}, {"bidirectional": True, "merge": "sum"}, "merge='sum'"),
    "stack": (ConvGRU, {"bidirectional": True}, {"bidirectional": "stack"}, "bidirectional='stack'"),
    "zoneout": (ConvGRU, {}, {"zoneout": 0.25}, "zoneout=0.25"),
    "output size": (ConvGRU, {}, {"output_size": 4}, r"output_size=\(4, 4\)"),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_another_network_is_refused(name):
    kind, one, other, shown = DIFFERENCES[name]
    net, saved = kind(2, 3, **one), kind(2, 3, **other).state_dict()
    before = copy.deepcopy(net.state_dict())
    for strict in (True, False):
        with pytest.raises(RuntimeError, match=rf"was saved by .*{shown}.*, the module is {kind.__name__}\(2, 3, "):
            net.load_state_dict(saved, strict=strict)
    with pytest.raises(RuntimeError, match=rf"the module is .*{shown}"):
        kind(2, 3, **other).load_state_dict(before)
    net.load_state_dict(dict(saved))  # without metadata there is nothing to compare
    assert torch.equal(net.state_dict()["layers.0.fwd.weight_ih"], saved["layers.0.fwd.weight_ih"])


def test_keys_that_are_missing_or_unexpected_are_plain_names():
    """What tools read with strict=False: names of parameters, and nothing else."""
    net, other = ConvGRU(2, 3), ConvGRU(2, 3, reset="after")
    keys = net.load_state_dict(dict(other.state_dict()), strict=False)
    assert (keys.missing_keys, keys.unexpected_keys) == ([], ["layers.0.fwd.bias_hn"])
    keys = other.load_state_dict(dict(net.state_dict()), strict=False)
    assert (keys.missing_keys, keys.unexpected_keys) == (["layers.0.fwd.bias_hn"], [])
    model = nn.ModuleDict({"core": net, "head": nn.Linear(1, 1)})
    keys = model.load_state_dict(net.state_dict(prefix="core."), strict=False)
    assert (keys.missing_keys, keys.unexpected_keys) == (["head.weight", "head.bias"], [])


def test_the_same_network_is_not_refused():
    for kind, one, other, _ in DIFFERENCES.values():
        for options in (one, other):
            kind(2, 3, **options).load_state_dict(kind(2, 3, **options).state_dict())


def test_dropout_may_differ():
    plain = ConvGRU(2, 3, num_layers=2).state_dict()
    ConvGRU(2, 3, num_layers=2, dropout=0.5, recurrent_dropout=0.5).load_state_dict(plain)
    frames = Forecaster("gru", 1, 3, decoder=True).state_dict()
    Forecaster("gru", 1, 3, decoder=True, recurrent_dropout=0.2).load_state_dict(frames)


def test_inside_a_larger_model_it_is_named_once():
    models = [nn.ModuleDict({"core": nn.Sequential(ConvGRU(2, 3, 3, 2, dilation=d))}) for d in (1, 2)]
    with pytest.raises(RuntimeError, match=r"core\.0: the state dict was saved by ConvGRU\(.*dilation=2\)") as caught:
        models[0].load_state_dict(models[1].state_dict())
    assert str(caught.value).count("was saved by") == 1
    frames = [Forecaster("gru", 2, 3, dilation=d) for d in (1, 2)]
    with pytest.raises(RuntimeError, match=r"was saved by Forecaster\('gru', 2, 3, .*dilation=2") as caught:
        frames[0].load_state_dict(frames[1].state_dict())
    assert str(caught.value).count("was saved by") == 1


PARTS = {
    "encoder": lambda **o: Forecaster("gru", 2, [3], **o).encoder,
    "decoder": lambda **o: Forecaster("gru", 2, [3], decoder=True, **o).decoder,
    "layer": lambda **o: ConvGRU(2, 3, **o).layers[0]["fwd"],
}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_by_itself(name):
    PARTS[name]().load_state_dict(PARTS[name]().state_dict())
    with pytest.raises(RuntimeError, match=r"was saved by ConvGRU\(2, 3, kernel_size=3, dilation=2\), the module is"):
        PARTS[name]().load_state_dict(PARTS[name](dilation=2).state_dict())


def test_forecasters_that_names_do_not_tell():
    saved = Forecaster("gru", 1, 3).state_dict()
    for options in ({"residual": False}, {"feedback": False}):
        with pytest.raises(RuntimeError, match=f"the module is .*{next(iter(options))}=False"):
            Forecaster("gru", 1, 3, **options).load_state_dict(saved)


def test_cells():
    with pytest.raises(RuntimeError, match=r"was saved by ConvGRU\(2, 3, kernel_size=3, bias=False, reset='after'\)"):
        ConvGRUCell(2, 3, bias=False).load_state_dict(ConvGRUCell(2, 3, bias=False, reset="after").state_dict())
    state = ConvGRU(2, [3, 4], dilation=[1, 2]).layers[1]["fwd"].state_dict()
    ConvGRUCell(3, 4, dilation=2).load_state_dict(state)
    with pytest.raises(RuntimeError, match=r"was saved by ConvGRU\(3, 4, kernel_size=3, dilation=2\)"):
        ConvGRUCell(3, 4).load_state_dict(state)


@pytest.mark.parametrize("note", [{"format": 2, "spec": "{}"}, {"format": 1, "spec": "{"}, 7, {}])
def test_a_spec_that_cannot_be_read(note):
    state = ConvGRU(2, 3).state_dict()
    state._metadata[""]["convgru"] = note
    with pytest.raises(RuntimeError, match="the state dict holds a spec that cannot be read: "):
        ConvGRU(2, 3).load_state_dict(state)
