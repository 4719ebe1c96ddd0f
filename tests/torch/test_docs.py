"""The Python blocks of PyTorch's pages run as pasted, in order, one after another."""

import sys
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch
from support import pages
from torch import nn

from convgru.parity import table as case_table
from convgru.torch.compat import (
    biconvgru,
    bidirectional_conv_lstm,
    convlstm_pytorch,
    convolutional_rnn,
    pytorch_convgru,
)


class MyConvGRU(nn.Module):
    """The network of your own that docs/parity.md runs the table on."""

    def __init__(self, in_channels, hidden_channels, kernel_size):
        super().__init__()
        padding, channels = tuple(size // 2 for size in kernel_size), in_channels + hidden_channels
        self.gates = nn.Conv2d(channels, 2 * hidden_channels, kernel_size, padding=padding)
        self.candidate = nn.Conv2d(channels, hidden_channels, kernel_size, padding=padding)

    def forward(self, frames, h):
        outputs = []
        for x in frames:
            r, z = torch.sigmoid(self.gates(torch.cat([x, h], 1))).chunk(2, 1)
            h = z * h + (1 - z) * torch.tanh(self.candidate(torch.cat([x, r * h], 1)))
            outputs.append(h)
        return torch.stack(outputs), h


# The module whose old.pt the reader of a page has.
OLD = {
    "docs/compat/pytorch_convgru.md": lambda: pytorch_convgru.ConvGRU(8, [32, 64, 16], [3, 5, 3], 3),
    "docs/compat/biconvgru.md": lambda: biconvgru.BiConvGRU((64, 64), 3, [32, 64], [3, 5], 2),
    "docs/compat/convlstm_pytorch.md": lambda: convlstm_pytorch.ConvLSTM(3, [16, 8], [(3, 3), (5, 5)], 2),
    "docs/compat/bidirectional_conv_lstm.md": lambda: bidirectional_conv_lstm.ConvLSTM(
        1, 64, 3, 1, 1, True, True, True
    ),
    "docs/compat/convolutional_rnn.md": lambda: convolutional_rnn.Conv3dGRU(2, 5, (3, 4, 6), 2, bidirectional=True),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("page", pages.ROOMS["torch"])
def test_the_blocks_of_a_page(tmp_path, monkeypatch, page):
    if "huggingface_hub" in "".join(pages.blocks(page)):
        pytest.importorskip("huggingface_hub")
    monkeypatch.chdir(tmp_path)
    if page == "docs/parity.md":
        few = [case for case in case_table.table() if case.name.startswith("gru-before")]
        monkeypatch.setattr(case_table, "table", lambda: few[::4])  # all of it: test_parity_module.py
        monkeypatch.setitem(sys.modules, "my_package", SimpleNamespace(MyConvGRU=MyConvGRU))
    if page in OLD:
        torch.save(OLD[page]().state_dict(), "old.pt")
    # The last step of each page, into another framework, if that is installed.
    pages.run(page, leave_out=None if find_spec("flax") else r"convgru\.port\(")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("page", pages.ROOMS["gpu"])
def test_the_blocks_of_a_page_for_gpus(tmp_path, monkeypatch, page):
    monkeypatch.chdir(tmp_path)
    pages.run(page)
