"""The Python blocks of Flax's pages run as pasted, in order, one after another."""

import pytest
from support import pages


@pytest.mark.parametrize("page", pages.ROOMS["flax"])
def test_the_blocks_of_a_page(tmp_path, monkeypatch, page):
    monkeypatch.chdir(tmp_path)
    pages.run(page)
