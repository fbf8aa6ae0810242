"""The book is whole: no link or anchor is dead, and the pages of flags say what the tasks say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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
