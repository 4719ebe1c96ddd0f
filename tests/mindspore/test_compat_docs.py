"""The Python blocks of the drop-in's page run as pasted, in order, one after another."""

import re
from pathlib import Path

import mindspore as ms

from convgru.mindspore.compat.pytorch_convgru import ConvGRU

PAGE = Path(__file__).resolve().parents[2] / "docs" / "compat" / "mindspore_pytorch_convgru.md"


def test_the_blocks_of_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ms.save_checkpoint(ConvGRU(8, [32, 64, 16], [3, 5, 3], 3), "old.ckpt")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    names = {}
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), names)
