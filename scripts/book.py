"""What the book needs beside docs/: the pages of the top level, and links that leave it.

On GitHub every page links to files of the repository. In the book those of the top level are pages too; a
link to any other file of the repository becomes its name, and one to a file that is missing fails the build.
"""

import logging
import re
from pathlib import Path
from posixpath import normpath, relpath

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
PAGES = {
    f"{name}.md": f"{name.lower()}.md" for name in ("ARCHITECTURE", "CHANGELOG", "CONTRIBUTING", "SECURITY")
}
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
CODE = re.compile(r"(^```.*?^```)", re.MULTILINE | re.DOTALL)

log = logging.getLogger("mkdocs.hooks.book")


def on_files(files, config):
    """Add the pages of the top level."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text()))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turn links between files of the repository into links between pages of the book."""
    generated = {page: name for name, page in PAGES.items()}
    here = page.file.src_uri
    folder = Path(generated[here]).parent if here in generated else Path("docs", here).parent

    def in_book(match: re.Match) -> str:
        text, link, anchor = match[1], match[2], match[3] or ""
        target = normpath(folder.joinpath(link).as_posix())
        if target in PAGES:
            return f"[{text}]({relpath(PAGES[target], Path(here).parent.as_posix() or '.')}{anchor})"
        if not (ROOT / target).exists():
            log.warning("%s links to %s, which is not in the repository", here, link)
        if target == "docs" or (ROOT / target).is_dir():
            target += "/README.md"
        if target.startswith("docs/"):
            return f"[{text}]({relpath(target[5:], Path(here).parent.as_posix() or '.')}{anchor})"
        return f"{text} (`{target}`)" if text.strip("`") != target else f"`{target}`"

    # Blocks of code are left as they are: what looks like a link there is none.
    pieces = CODE.split(markdown)
    for index in range(0, len(pieces), 2):
        pieces[index] = LINK.sub(in_book, pieces[index])
    return "".join(pieces)
