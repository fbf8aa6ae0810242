"""While it compiles one sees where it is, on a terminal and in a log; what else Cargo says is passed on."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.services import REPOSITORY

PROGRESS = REPOSITORY / "scripts" / "progress.py"
LINE = re.compile(r"Compiled (\d+) of (\d+) crates in \d+:\d\d, now \S+")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A workspace of three crates that take a second each."""
    for name in "abc":
        (tmp_path / name / "src").mkdir(parents=True)
        uses = '[dependencies]\na = { path = "../a" }\nb = { path = "../b" }\n' if name == "c" else ""
        package = f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2024"\n'
        (tmp_path / name / "Cargo.toml").write_text(package + uses)
        (tmp_path / name / "build.rs").write_text(
            "fn main() { std::thread::sleep(std::time::Duration::from_millis(1200)) }"
        )
        (tmp_path / name / "src" / "lib.rs").write_text("")
    (tmp_path / "Cargo.toml").write_text('[workspace]\nmembers = ["a", "b", "c"]\nresolver = "3"\n')
    return tmp_path


def build(project: Path) -> tuple[list, dict[str, str]]:
    """Return the command and its environment."""
    environment = os.environ | {"CARGO_TARGET_DIR": str(project / "target")}
    return [sys.executable, str(PROGRESS), "cargo", "build", "--offline"], environment


def test_a_log_gets_a_line_with_crates_and_time(project: Path) -> None:
    command, environment = build(project)
    done = subprocess.run(command, env=environment, cwd=project, capture_output=True, text=True, check=True)
    found = LINE.search(done.stderr)
    assert found, done.stderr
    assert int(found[1]) < int(found[2])
    assert int(found[2]) >= 3
    assert "\r" not in done.stderr
    assert "Finished" in done.stderr
    assert "Compiling" not in done.stderr


def test_a_terminal_gets_one_line_that_is_written_over(project: Path) -> None:
    command, environment = build(project)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, env=environment, cwd=project, stderr=theirs, stdin=theirs)
    os.close(theirs)
    said, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                said += os.read(ours, 65536)
            except OSError:
                break
        elif process.poll() is not None:
            break
    os.close(ours)
    assert process.wait(timeout=10) == 0
    lines = [piece for piece in said.decode().split("\r\x1b[K") if LINE.search(piece)]
    assert len(lines) >= 2
    assert not any("\n" in line for line in lines)


def test_an_error_and_its_exit_code_are_passed_on(project: Path) -> None:
    (project / "c" / "src" / "lib.rs").write_text("fn broken( {}")
    command, environment = build(project)
    done = subprocess.run(command, env=environment, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 101
    assert "fn broken( {}" in done.stderr
