"""The Python blocks of MindSpore's pages run as pasted, in order, one after another."""

import mindspore as ms
import pytest
from support import pages

from convgru.mindspore.compat.pytorch_convgru import ConvGRU


@pytest.mark.parametrize("page", pages.ROOMS["mindspore"])
def test_the_blocks_of_a_page(tmp_path, monkeypatch, page):
    monkeypatch.chdir(tmp_path)
    ms.save_checkpoint(ConvGRU(8, [32, 64, 16], [3, 5, 3], 3), "old.ckpt")
    mode = ms.get_context("mode")
    try:
        pages.run(page)
    finally:
        ms.set_context(mode=mode)
