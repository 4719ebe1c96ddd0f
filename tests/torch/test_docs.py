"""The Python blocks of PyTorch's pages run as pasted, in order, one after another."""

import sys
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch
from support import pages
from support.plain_convgru import PlainConvGRU

from convgru.parity import table as case_table
from convgru.torch.compat import (
    biconvgru,
    bidirectional_conv_lstm,
    convlstm_pytorch,
    convolutional_rnn,
    pytorch_convgru,
)

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
        monkeypatch.setitem(sys.modules, "my_package", SimpleNamespace(MyConvGRU=PlainConvGRU))
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
