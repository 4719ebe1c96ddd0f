"""Every Python block of README and docs runs in one room; those that need no framework run here."""

import pytest
from support import pages, scripts

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


@pytest.fixture(scope="module")
def examples():
    return scripts.module("docs/examples/pages.py")


def test_a_page_of_an_example_shows_the_script_and_what_it_printed(examples):
    for name in examples.NAMES:
        text = (scripts.ROOT / "docs" / "examples" / f"{name}.md").read_text(encoding="utf-8")
        output = examples.kept_output(text)
        assert "```text\n" in output, name
        assert text == examples.page(name, output), f"write it anew: python docs/examples/pages.py --keep {name}"


def test_every_example_is_listed_and_has_a_place(examples):
    folder, places = scripts.ROOT / "docs" / "examples", (scripts.ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert {path.stem for path in folder.glob("*.md")} == {"index", *examples.NAMES}
    assert (folder / "index.md").read_text(encoding="utf-8") == examples.index()
    assert not [name for name in examples.NAMES if f" examples/{name}.md\n" not in places]
