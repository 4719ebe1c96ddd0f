"""Which implementation runs a layer: the option, where it is kept, what is shown of it."""

import copy
import pickle

import pytest
import torch

import convgru
from convgru.torch import ConvGRU, ConvGRUCell, ConvLSTM, Forecaster, forecast, run
from convgru_torch import backend
from convgru_torch.implementations import IMPLEMENTATIONS

X = torch.zeros(3, 2, 2, 6, 5)


@pytest.mark.parametrize("make", [
    lambda **o: ConvGRU(2, [3, 4], **o),
    lambda **o: ConvLSTM.from_spec(convgru.network("lstm", 2, 3), **o),
    lambda **o: ConvGRUCell(2, 3, **o),
    lambda **o: Forecaster("gru", 2, 3, decoder=True, **o),
    lambda **o: convgru.build(convgru.init(convgru.network("gru", 2, 3)), "torch", **o),
])  # fmt: skip
def test_the_option_is_kept(make):
    """In copies and pickles, and in every part; shown where it is not the default."""
    assert "impl" not in repr(make())
    for net in (make(impl="readable"), make().set_execution(impl="readable")):
        for same in (net, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
            parts = [each.execution.impl for each in same.modules() if hasattr(each, "execution")]
            assert set(parts) == {"readable"}
            assert repr(same).count("impl='readable'") == len(parts)
        net.load_state_dict(make().state_dict())
        assert net.execution.impl == "readable"


def test_what_ran_is_shown():
    net = ConvGRU(2, [3, 4], bidirectional=True, impl="readable")
    layer = net.layers[1]["bwd"]
    assert layer.ran is None
    net(X)
    assert layer.ran.name == "readable"
    assert "ran: readable" in repr(net)
    assert str(pickle.loads(pickle.dumps(net)).layers[1]["bwd"].ran) == "readable"


def test_wrong_values_and_names():
    spec = convgru.network("gru", 2, 3)
    arrays = dict(ConvGRU(2, 3).named_parameters())
    for call in (lambda **o: ConvGRU(2, 3, **o), lambda **o: run(spec, arrays, X, **o), ConvGRU(2, 3).set_execution):
        with pytest.raises(ValueError, match="impl expected one of 'auto', 'readable', 'fast', got 'quick'"):
            call(impl="quick")
    for call, name in ((run, "run"), (forecast, "forecast")):
        with pytest.raises(TypeError, match=rf"{name}\(\) got an unexpected keyword argument 'imple'"):
            call(spec, arrays, X, 1, imple="fast")
    with pytest.raises(TypeError, match=r"has no option 'imple': its options are .*impl"):
        convgru.build(convgru.init(spec), "torch", imple="fast")


def test_doctor_lists_them():
    assert all(any(line.startswith(f"implementation {name}: ") for line in backend.notes()) for name in IMPLEMENTATIONS)
    assert any(line.startswith(("gates on CUDA: kernels of Triton", "gates on CUDA: operations of torch, for "))
               for line in backend.notes())  # fmt: skip
