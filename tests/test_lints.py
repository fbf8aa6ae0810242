"""What make test finds in Rust, by the way it looks for it (docs/decisions/0094)."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from support.services import REPOSITORY


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("pub fn plain() {}", ""),
        ("pub fn lint(text: &String) -> usize { text.len() }", "clippy::ptr_arg"),
        ("fn never_used() {}", "never_used"),
    ],
)
def test_lints_are_errors_of_the_build_that_runs_the_tests(tmp_path: Path, source: str, found: str):
    """The setting of scripts/test.sh makes clippy's warnings errors."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "lib.rs").write_text(source + "\n", encoding="utf-8")
    (tmp_path / "Cargo.toml").write_text('[package]\nname = "tried"\nedition = "2024"\n', encoding="utf-8")
    script = (REPOSITORY / "scripts" / "test.sh").read_text(encoding="utf-8")
    checked = re.search(r"^checked\(\) \{.*?^\}", script, re.MULTILINE | re.DOTALL)
    assert checked
    built = subprocess.run(
        ["bash", "-c", f"{checked[0]}\nchecked cargo test --offline --quiet --no-run"],
        cwd=tmp_path,
        env=os.environ | {"CARGO_TARGET_DIR": str(tmp_path / "target")},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=120,
    )
    assert (built.returncode == 0) == (not found), built.stderr
    assert found in built.stderr
