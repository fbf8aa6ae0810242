"""The book is whole: no dead link, pages of flags that are current, and a browser can search and read it."""

import functools
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from support.services import REPOSITORY
from support.tasks import binary

ALL_TASKS = binary("query_lake").resolve()
PAGES = REPOSITORY / "docs" / "reference" / "tasks"


def build(configuration: Path, folder: Path) -> subprocess.CompletedProcess:
    """Build the book that a configuration names into a folder; with `--quiet` nothing would be strict."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "-f", configuration, "-d", folder],
        cwd=REPOSITORY,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_no_link_of_the_book_is_dead(tmp_path: Path) -> None:
    built = build(REPOSITORY / "mkdocs.yml", tmp_path)
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "index.html").read_text()
    assert "Tutorial" in page
    loaded = re.findall(r'<(?:script|img|link)[^>]*(?:src|href)="(https?://[^"]*)"', page)
    assert not loaded, "the book must be readable without a network"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[x](nowhere.md)", "nowhere.md"),
        ("[x](../no-such-file.toml)", "no-such-file.toml"),
        ("[x](glossary.md#no-such-anchor)", "no-such-anchor"),
    ],
)
def test_a_dead_link_fails_the_build(tmp_path: Path, text: str, complaint: str) -> None:
    """A book of two pages, in a repository of its own, with one dead link."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "README.md").write_text(f"# A book\n\n{text}\n")
    (docs / "glossary.md").write_text("# Glossary\n")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "book.py").write_text((REPOSITORY / "scripts" / "book.py").read_text())
    for name in ("ARCHITECTURE", "CHANGELOG", "CONTRIBUTING", "SECURITY"):
        (tmp_path / f"{name}.md").write_text(f"# {name}\n")
    configuration = (REPOSITORY / "mkdocs.yml").read_text()
    configuration = re.sub(r"(?ms)^nav:.*", "", configuration).replace("extra_css: [book.css]\n", "")
    (tmp_path / "mkdocs.yml").write_text(configuration)
    built = build(tmp_path / "mkdocs.yml", tmp_path / "book")
    assert built.returncode != 0
    assert complaint in built.stderr


def test_the_pages_of_flags_are_what_the_tasks_say(tmp_path: Path) -> None:
    subprocess.run([ALL_TASKS, "--reference", tmp_path], check=True)
    written = {page.name: page.read_text() for page in tmp_path.iterdir()}
    committed = {page.name: page.read_text() for page in PAGES.iterdir()}
    for name in written.keys() | committed.keys():
        assert committed.get(name) == written.get(name), (
            f"docs/reference/tasks/{name} is old: run `all_tasks --reference docs/reference/tasks`"
        )


# Distance in px that a label of the picture keeps from the sides of its box, or null where it is in no box.
DISTANCES = """() => {
  const boxes = [...document.querySelectorAll('rect')].slice(1).map(box => box.getBBox());
  return [...document.querySelectorAll('text')].map(label => {
    const at = label.getBBox(), x = at.x + at.width / 2, y = at.y + at.height / 2;
    const box = boxes.find(b => x > b.x && x < b.x + b.width && y > b.y && y < b.y + b.height);
    return [label.textContent, box ? Math.min(at.x - box.x, box.x + box.width - at.x - at.width) : null];
  });
}"""
CUT = """() => [...document.querySelectorAll('.md-typeset__scrollwrap')]
  .filter(table => table.scrollWidth > table.clientWidth + 1).map(table => table.innerText.slice(0, 60))"""


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and doesn't say so."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Folder of the built book, and the address at which it is served."""
    folder = tmp_path_factory.mktemp("book")
    built = build(REPOSITORY / "mkdocs.yml", folder)
    assert built.returncode == 0, built.stderr
    served = functools.partial(Quiet, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), served) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("NO BROWSER: chromium isn't installed, so nobody has looked at the book")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 1300, "height": 900})
        browser.close()


def test_the_search_finds_a_page(book: tuple[Path, str], page: Page) -> None:
    _, address = book
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{address}/index.html")
    page.locator(".md-search__input").first.click()
    page.keyboard.type("replication slot is lost")
    page.wait_for_selector(".md-search-result__link")
    found = [link.get_attribute("href") for link in page.locator(".md-search-result__link").all()]
    assert any("runbook/lost-slot.html" in link for link in found), found
    assert all(url.startswith(address) for url in asked), "the search must work without a network"


def test_no_table_is_cut_in_a_window_of_1300_px(book: tuple[Path, str], page: Page) -> None:
    folder, address = book
    cut = {}
    for file in sorted(folder.rglob("*.html")):
        page.goto(f"{address}/{file.relative_to(folder)}", wait_until="load")
        if tables := page.evaluate(CUT):
            cut[file.name] = tables
    assert not cut


def test_every_label_of_the_flow_is_inside_its_box(page: Page) -> None:
    page.set_content((REPOSITORY / "docs" / "images" / "flow.svg").read_text())
    distances = page.evaluate(DISTANCES)
    assert len(distances) > 20
    assert not [label for label, distance in distances if distance is None or distance < 6]
