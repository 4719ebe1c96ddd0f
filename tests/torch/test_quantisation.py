"""What docs/torch.md says of quantisation: PyTorch's default ways change and raise nothing."""

import copy
import warnings

import pytest
import torch
from torch import nn

from convgru.torch import ConvGRU, ConvLSTMCell

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.ao import quantization


def static(net, x):
    net.qconfig = quantization.get_default_qconfig("x86")
    prepared = quantization.prepare(net)
    prepared(x)
    return quantization.convert(prepared)


WAYS = {
    "dynamic": lambda net, x: quantization.quantize_dynamic(net),
    "dynamic, of convolutions too": lambda net, x: quantization.quantize_dynamic(net, {nn.Linear, nn.Conv2d}),
    "static": static,
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_quantised(way):
    for net, x in (
        (ConvGRU(2, 3, num_layers=2), torch.randn(3, 1, 2, 4, 4)),
        (ConvLSTMCell(2, 3), torch.randn(1, 2, 4, 4)),
    ):
        quantised = WAYS[way](copy.deepcopy(net).eval(), x)
        assert {name: value.dtype for name, value in quantised.state_dict().items()} == {
            name: value.dtype for name, value in net.state_dict().items()
        }
        torch.testing.assert_close(quantised(x), net.eval()(x), rtol=0, atol=0)
