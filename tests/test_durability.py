"""What a task has committed to a lake on a disk outlives a loss of power."""

import subprocess
from pathlib import Path

from support.tasks import run

WINDOW = ("--as-of", "2025-03-31", "--months", "3")


def test_bytes_are_synced_before_they_have_a_name_and_names_before_the_record(tmp_path: Path) -> None:
    library, trace, lake = tmp_path / "durability.so", tmp_path / "trace", tmp_path / "lake"
    source = Path(__file__).parent / "support" / "durability.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    env = {"SOURCE_URL": f"sqlite:{tmp_path}/invoices.db", "LAKE_URL": lake.as_uri()}
    run("populate_tables", "--customers", "20", "--invoices", "600", "--seed", "1", "--until",
        "2025-03-31", "--months", "3", env=env)  # fmt: skip
    env |= {"LD_PRELOAD": str(library), "SYNC_TRACE": str(trace)}
    for task in ("query_source", "aggregate_by_business", "write_partitioned_parquet"):
        run(task, *WINDOW, env=env)

    synced: set[str] = set()
    unsynced_names: set[str] = set()
    records = 0
    for line in trace.read_text().splitlines():
        what, first, second = line.split("\t")
        if what == "sync":
            synced.add(first)
            unsynced_names -= {name for name in unsynced_names if str(Path(name).parent) == first}
            continue
        # A name in here is seen by nobody.
        if Path(second).parent.name == "_tmp":
            continue
        # Bytes first: a name that outlives them would be an object that is cut or empty.
        assert first in synced, line
        # All names of a partition before its record's, which says that they are there.
        if "/_commits/" in second:
            assert not [name for name in unsynced_names if Path(second).stem in name], second
            records += 1
        unsynced_names.add(second)
    assert records == len(list((lake / "_commits").rglob("*.json"))) > 0
    assert not unsynced_names
    # New folders are names too.
    made = {
        folder for path in lake.rglob("*.parquet") for folder in path.parents if folder.is_relative_to(lake)
    }
    assert {str(folder) for folder in made if "_tmp" not in folder.parts} <= synced
