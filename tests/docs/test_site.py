"""The built site: links lead somewhere, nothing is from elsewhere, every public name is there."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import griffe
import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
MODULES = (
    "convgru",
    *(f"convgru.{name}" for name in ("torch", "flax", "jax", "mindspore")),
    *(f"convgru.{name}" for name in ("spec", "reference", "parity", "importers", "bench")),
    *(f"convgru.torch.compat.{path.stem}" for path in sorted((ROOT / "convgru/torch/compat").glob("[!_]*.py"))),
    "convgru.mindspore.compat.pytorch_convgru",
)
FETCHED = {("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src"), ("source", "src")}


class Page(HTMLParser):
    """The ids of a page, what it links to, and what a browser would fetch to show it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.fetched: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name == "id":
                self.ids.add(value)
            if (tag, name) in FETCHED:
                self.fetched.add(value)
            elif name in ("href", "src"):
                self.links.add(value)


@pytest.fixture(scope="module")
def pages(site):
    return {path.relative_to(site).as_posix(): Page(path) for path in site.rglob("*.html")}


def test_links_and_anchors_lead_somewhere(site, pages):
    broken = []
    for name, page in pages.items():
        for link in page.links | page.fetched:
            address = urlsplit(link)
            if address.scheme or address.netloc or name == "404.html":
                continue
            target = (site / name).parent / unquote(address.path) if address.path else site / name
            target = target.resolve()
            other = pages.get(target.relative_to(site.resolve()).as_posix()) if target.is_file() else None
            if not target.is_file() or (address.fragment and other and unquote(address.fragment) not in other.ids):
                broken.append((name, link))
    assert len(pages) > 30
    assert not broken


def test_a_page_is_shown_without_the_net(pages):
    """Fonts, scripts and pictures are the site's own: it works where there is no network."""
    assert not [(name, link) for name, page in pages.items() for link in page.fetched if urlsplit(link).netloc]


def test_external_links_are_addresses(pages):
    links = {link for page in pages.values() for link in page.links if urlsplit(link).scheme}
    assert any(link.startswith("https://arxiv.org/abs/") for link in links)
    assert not [
        link for link in links if not re.fullmatch(r"(https://[\w.-]+\.\w+(/[^\s<>\"]*)?|mailto:\S+@\S+)", link)
    ]


def test_every_page_can_be_reached(pages):
    """From the navigation, whatever the page."""
    named = {unquote(urlsplit(link).path) for link in pages["index.html"].links}
    assert not [name for name in pages if name not in named and name not in ("index.html", "404.html")]


@pytest.fixture(scope="module")
def package():
    return griffe.load("convgru", search_paths=[ROOT, ROOT / "backends"])


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_in_the_reference(pages, package, module):
    """Under its public name; the modules in ``convgru.__all__`` have pages of their own."""
    ids = set().union(*(page.ids for name, page in pages.items() if name.startswith("api/")))
    read = package if module == "convgru" else package[module.removeprefix("convgru.")]
    assert read.exports
    missing = {str(name) for name in read.exports if f"{module}.{name}" not in ids}
    assert not {name for name in missing if f"api/{name}.html" not in pages or module != "convgru"}


@pytest.mark.parametrize("source", sorted(DOCS.glob("pictures/*.mmd")), ids=lambda path: path.stem)
def test_a_drawing_is_that_of_its_source(source):
    drawn = source.with_suffix(".svg").read_text(encoding="utf-8")
    expected = hashlib.sha256(source.read_bytes()).hexdigest()
    assert drawn.startswith(f"<!-- {expected} -->"), "draw it anew: docs/pictures/draw.mjs"


def test_the_picture_of_the_rooms_is_that_of_the_contracts():
    path = DOCS / "pictures" / "rooms.py"
    module = importlib.util.module_from_spec(spec := importlib.util.spec_from_file_location("rooms", path))
    spec.loader.exec_module(module)
    drawn = path.with_suffix(".svg").read_text(encoding="utf-8")
    assert drawn == module.picture(), "draw it anew: python docs/pictures/rooms.py"
