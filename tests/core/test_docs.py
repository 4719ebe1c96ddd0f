"""Every Python block of README and docs runs in one room; those that need no framework run here."""

import pytest
from support import pages

import convgru
from convgru.importers import LAYOUTS


def test_every_page_with_python_runs_in_one_room():
    assert sorted(page for room in pages.ROOMS.values() for page in room) == pages.pages()


@pytest.mark.parametrize("page", pages.ROOMS["core"])
def test_the_blocks_of_a_page(tmp_path, monkeypatch, page):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(LAYOUTS, "mine", raising=False)  # which docs/extending.md adds: undone afterwards
    convgru.write(convgru.init(convgru.network("gru", 3, [16, 32])), "model.safetensors")
    pages.run(page)
