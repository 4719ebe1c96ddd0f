"""huggingface_hub's mixin: save_pretrained restores a network, whichever way it was made."""

import json

import pytest
import torch
from torch import nn

import convgru
from convgru.spec import Norm, network
from convgru.spec.describe import json_arguments
from convgru.torch import ConvGRU, ConvGRUCell, ConvLSTM, ConvRNN, Forecaster

hub = pytest.importorskip("huggingface_hub")


class MixinFirst(hub.PyTorchModelHubMixin, ConvGRU):
    """As huggingface_hub's documentation has it."""


class MixinLast(ConvGRU, hub.PyTorchModelHubMixin):
    """The other order."""


class HubLSTM(ConvLSTM, hub.PyTorchModelHubMixin):
    """An LSTM."""


class HubRNN(ConvRNN, hub.PyTorchModelHubMixin):
    """An RNN."""


class HubCell(ConvGRUCell, hub.PyTorchModelHubMixin):
    """A bare cell."""


class HubForecaster(Forecaster, hub.PyTorchModelHubMixin):
    """A forecaster."""


# Lists, tuples and what is neither: JSON makes lists of all of them.
MADE = {
    "plain": lambda: MixinFirst(2, 3),
    "a tuple for each dimension": lambda: MixinFirst(2, [4, 3], dilation=(1, 2), batch_first=True),
    "mixin last": lambda: MixinLast(2, [4, 3], (3, 5), dilation=(1, 2), stride=[2, (1, 2)]),
    "padding": lambda: HubLSTM(2, 4, padding=((0, 2), 1), peephole="hadamard", state_size=(7, 5), norm=2),
    "norm": lambda: HubRNN(2, 4, norm=Norm((2,), 1e-3), activation="relu", output_size=(4, 5)),
    "updates": lambda: MixinLast(2, 4, updates=((1, 3), (3, 1)), bidirectional="stack", merge="sum"),
    "cell": lambda: HubCell(2, 4, (3, 5), reset="after", dilation=(1, 2)),
    "forecaster": lambda: HubForecaster("gru", 1, [4, 3], dilation=(1, 2), patch=(1, 2), decoder=True),
    "forecaster of an LSTM": lambda: HubForecaster("lstm", 1, 4, peephole="conv"),
    "forecaster of an RNN": lambda: HubForecaster("rnn", 1, [4], batch_first=True),
    "forecaster, reset after": lambda: HubForecaster("gru", 1, 4, reset="after"),
    "decoder": lambda: HubForecaster("gru", 1, 4, decoder=network("gru", 1, 4, (3, 5)), residual=False, feedback=False),
}


def same(got, net):
    assert got.spec == net.spec
    assert getattr(got, "batch_first", None) == getattr(net, "batch_first", None)
    assert convgru.extract(got).equal(convgru.extract(net))


@pytest.mark.parametrize("name", MADE)
def test_a_network_made_by_its_constructor(tmp_path, name):
    net = MADE[name]()
    net.save_pretrained(tmp_path)
    again = type(net).from_pretrained(tmp_path)
    same(again, net)
    again.save_pretrained(tmp_path)
    same(type(net).from_pretrained(tmp_path), net)


@pytest.mark.parametrize("name", MADE)
def test_a_network_made_from_a_spec(tmp_path, name):
    made = MADE[name]()
    options = {"batch_first": True} if hasattr(made, "batch_first") else {}
    net = type(made).from_spec(made.spec, **options)
    net.save_pretrained(tmp_path)
    same(type(net).from_pretrained(tmp_path), net)


def test_the_dtype_is_an_argument_of_from_pretrained(tmp_path):
    net = MixinFirst(2, 3, dtype=torch.float64)
    net.save_pretrained(tmp_path)
    same(MixinFirst.from_pretrained(tmp_path, dtype=torch.float64), net)


def test_a_model_that_holds_a_network_from_build(tmp_path):
    class Model(nn.Module, hub.PyTorchModelHubMixin):
        def __init__(self, rnn):
            super().__init__()
            self.rnn = ConvGRU(**rnn)

    net = convgru.build(convgru.init(network("gru", 2, [4, 3], dilation=(1, 2))), "torch")
    model = Model(rnn=json_arguments(net.spec))
    model.rnn.load_state_dict(net.state_dict())
    model.save_pretrained(tmp_path)
    same(Model.from_pretrained(tmp_path).rnn, net)


def test_a_subclass_with_arguments_of_its_own_keeps_them(tmp_path):
    class Named(ConvGRU, hub.PyTorchModelHubMixin):
        def __init__(self, size, kernel_size=3):
            super().__init__(2, size, (kernel_size, 5))

    net = Named(4)
    net.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()) == {"size": 4, "kernel_size": 3}
    same(Named.from_pretrained(tmp_path), net)
