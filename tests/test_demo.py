"""The demo does what README says, and a second run finds nothing to do."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from support.tasks import binary

PROJECT = Path(__file__).parents[1]


def test_the_demo_runs_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    for name in ("demo.sh", "env.sh", "look.sh", "setup.sh"):
        shutil.copy(PROJECT / "scripts" / name, tmp_path / "scripts" / name)
    env = os.environ | {"SKIP_BUILD": "1", "CARGO_TARGET_DIR": str(binary("query_source").parents[1])}
    for unchanged in (0, 12):
        done = subprocess.run(
            [tmp_path / "scripts" / "demo.sh"], env=env, capture_output=True, text=True, check=True
        )
        assert "Largest businesses" in done.stderr
        for task in ("query_source", "aggregate_by_business", "write_partitioned_parquet"):
            result = json.loads((tmp_path / "demo" / f"{task}.json").read_text())
            assert result["months_unchanged"] == unchanged


def test_what_the_demo_compiles_is_used_by_make_test() -> None:
    checked = [sys.executable, PROJECT / "scripts" / "check_features.py"]
    assert subprocess.run(checked, stdout=subprocess.PIPE, text=True, check=False).stdout == ""
