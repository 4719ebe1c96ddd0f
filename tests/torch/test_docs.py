"""The Python blocks of PyTorch's pages run as pasted, in order, one after another."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from convgru.torch.compat import (
    biconvgru,
    bidirectional_conv_lstm,
    convlstm_pytorch,
    convolutional_rnn,
    pytorch_convgru,
)

DOCS = Path(__file__).resolve().parents[2] / "docs"
# Each page, and the module whose old.pt its reader has.
PAGES = {
    "torch": None,
    "compat/pytorch_convgru": lambda: pytorch_convgru.ConvGRU(8, [32, 64, 16], [3, 5, 3], 3),
    "compat/biconvgru": lambda: biconvgru.BiConvGRU((64, 64), 3, [32, 64], [3, 5], 2),
    "compat/convlstm_pytorch": lambda: convlstm_pytorch.ConvLSTM(3, [16, 8], [(3, 3), (5, 5)], 2),
    "compat/bidirectional_conv_lstm": lambda: bidirectional_conv_lstm.ConvLSTM(1, 64, 3, 1, 1, True, True, True),
    "compat/convolutional_rnn": lambda: convolutional_rnn.Conv3dGRU(2, 5, (3, 4, 6), 2, bidirectional=True),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page(tmp_path, monkeypatch, page):
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    if "huggingface_hub" in text:
        pytest.importorskip("huggingface_hub")
    monkeypatch.chdir(tmp_path)
    if PAGES[page] is not None:
        torch.save(PAGES[page]().state_dict(), "old.pt")
    names = {"__name__": f"docs.{page}"}
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        if find_spec("flax") is None:  # the last step of each page, into another framework
            block = re.sub(r".*convgru\.port\(.*\n", "", block)
        exec(compile(block, page, "exec"), names)
