"""query_lake at a terminal: completion, times, columns of a table, Ctrl-C and what is seen meanwhile."""

import os
import pty
import re
import select
import signal
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.tasks import binary

PROMPT = "lake> "
SECONDS = 60


class Terminal:
    """A program on a terminal of its own, typed to and read as a person does."""

    def __init__(self, *command: object, **environment: str) -> None:
        self.seen = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            kept = {name: os.environ[name] for name in ("PATH", "HOME")}
            os.execve(
                str(command[0]), [str(part) for part in command], kept | {"TERM": "xterm"} | environment
            )
        termios.tcsetwinsize(self.fd, (24, 100))

    def type(self, text: str) -> None:
        """Send keys."""
        os.write(self.fd, text.encode())

    def wait_for(self, pattern: str) -> str:
        """Read until the screen's new text matches, and return it to the end of the match."""
        deadline = time.monotonic() + SECONDS
        while not (found := re.search(pattern, self.seen)):
            assert time.monotonic() < deadline, f"{pattern!r} did not come: {self.seen[-2000:]!r}"
            if select.select([self.fd], [], [], 0.2)[0]:
                self.seen += os.read(self.fd, 65536).decode(errors="replace")
        seen, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return seen

    def ask(self, line: str) -> str:
        """Type a line and return all until the next prompt."""
        self.type(line + "\r")
        self.wait_for("\n")
        return self.wait_for(PROMPT)

    def close(self) -> int:
        """Leave the program and return its exit code."""
        self.type("\x04")
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            try:
                if select.select([self.fd], [], [], 0.05)[0]:
                    os.read(self.fd, 65536)
            except OSError:
                break
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """An open prompt over one CSV file."""
    (tmp_path / "rates.csv").write_text("currency,rate_usd\nEUR,1.10\nJPY,0.0067\n")
    history = {"QUERY_LAKE_HISTORY": str(tmp_path / "history")}
    opened = Terminal(binary("query_lake"), "--with", f"rates={tmp_path}/rates.csv", **history)
    opened.wait_for(PROMPT)
    yield opened
    try:
        os.kill(opened.pid, signal.SIGKILL)
        os.waitpid(opened.pid, 0)
    except (ChildProcessError, ProcessLookupError):
        pass


def test_names_are_completed_and_tables_described(terminal: Terminal) -> None:
    assert "rate_usd  Decimal128" in terminal.ask("\\d rates")
    assert terminal.ask("\\d").startswith("rates\r\n")
    terminal.type("SELECT curr\t")
    terminal.wait_for("curr")
    # Columns are known once their table is named.
    terminal.type("\x15SELECT 1 FROM ra\t")
    terminal.wait_for("FROM rates")
    terminal.type(" WHERE rate_u\t")
    terminal.wait_for("rate_usd")
    assert "1 rows" in terminal.ask(" > 1;")
    terminal.type("\\d ra\t")
    terminal.wait_for("rates")
    assert "currency  Utf8" in terminal.ask("")


def test_times_are_shown_when_asked_for(terminal: Terminal) -> None:
    assert "Time:" not in terminal.ask("SELECT 1;")
    assert "Timing is on." in terminal.ask("\\timing")
    assert re.search(r"Time: \d+\.\d{3} s", terminal.ask("SELECT 1;"))
    assert "Timing is off." in terminal.ask("\\timing")


def test_ctrl_c_ends_the_query_and_the_prompt_goes_on(terminal: Terminal) -> None:
    terminal.type(
        "SELECT SUM(a.value * b.value % 7)"
        " FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b;\r"
    )
    assert "files read" in terminal.wait_for(r"\d s, .* files read")
    terminal.type("\x03")
    assert "the query was interrupted" in terminal.wait_for(PROMPT)
    assert "EUR" in terminal.ask("SELECT currency FROM rates;")
    assert terminal.close() == 0
