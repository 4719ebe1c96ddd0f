"""The built site in a real browser: pages open without errors, pictures show, search finds."""

from __future__ import annotations

import functools
import os
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = os.environ.get("CONVGRU_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason=f"no browser: $CONVGRU_BROWSER is not set, and none of {', '.join(NAMES)} is on the PATH"
)
BLANK = "images => images.filter(image => !image.complete || !image.naturalWidth).map(image => image.src)"


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and prints nothing."""

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address(site):
    """The address of the site, served on this machine: a browser searches no files."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        # Without its sandbox, which wants rights that CI's containers lack: the pages are our own.
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def tab(browser):
    tab = browser.new_page()
    yield tab
    tab.close()


def test_pages_open_and_show_their_pictures(site, address, tab):
    """Every page with a picture and every fourth of the others: a page takes half a second."""
    wrong = []
    tab.on("console", lambda message: message.type == "error" and wrong.append((tab.url, message.text)))
    tab.on("pageerror", lambda error: wrong.append((tab.url, str(error))))
    tab.on("response", lambda response: response.status >= 400 and wrong.append((tab.url, response.url)))
    tab.on("request", lambda request: request.url.startswith((address, "data:")) or wrong.append(request.url))
    every = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))
    drawn = [name for name in every if "<img" in (site / name).read_text(encoding="utf-8")]
    names = [*drawn, *[name for name in every if name not in drawn][::4]]
    pictures = 0
    for name in names:
        tab.goto(f"{address}/{name}")
        wrong += [(name, image) for image in tab.eval_on_selector_all("img", BLANK)]
        wrong += [] if tab.inner_text("h1").strip() else [(name, "no heading")]
        pictures += tab.locator("article img").count()
    assert not wrong
    assert len(names) > len(drawn) + 5
    assert pictures > 8


@pytest.mark.parametrize(
    ("words", "found"),
    [('reset="after"', "gru.html"), ("performance", "performance.html"), ("ConvLSTMCell", "api/torch.html")],
)
def test_search_finds(address, tab, words, found):
    tab.goto(f"{address}/index.html")
    tab.fill("[data-md-component=search-query]", words)
    tab.wait_for_selector(".md-search-result__link")
    links = tab.eval_on_selector_all(".md-search-result__link", "links => links.map(link => link.href)")
    assert any(link.startswith(f"{address}/{found}") for link in links), links


def test_a_notebook_is_downloaded(address, tab):
    tab.goto(f"{address}/examples/moving_digits.html")
    with tab.expect_download() as download:
        tab.click("text=Download as a notebook")
    assert download.value.suggested_filename == "moving_digits.ipynb"
