"""What a task has committed to a lake on a disk outlives a loss of power."""

import subprocess
from pathlib import Path

from support.tasks import run

WINDOW = ("--as-of", "2025-03-31", "--months", "3")


class Disk:
    """What a lake's disk would lose with the power, by what a task asked of it so far."""

    def __init__(self, lake: Path) -> None:
        self.lake = lake
        self.bytes: set[Path] = set()
        self.names: set[Path] = set()
        self.kept: set[Path] = {lake}

    def write(self, file: Path) -> None:
        """Change a file's bytes."""
        self.bytes.add(file)

    def name(self, file: Path) -> None:
        """Give a file a name, which may make folders, whose names can be lost too."""
        self.names.add(file)
        self.names |= {folder for folder in file.parents if folder.is_relative_to(self.lake)} - self.kept

    def sync(self, path: Path) -> None:
        """Flush a file, or the names in a folder."""
        self.bytes.discard(path)
        self._keep({name for name in self.names if name.parent == path})

    def sync_all(self) -> None:
        """Flush the file system."""
        self.bytes.clear()
        self._keep(set(self.names))

    def _keep(self, names: set[Path]) -> None:
        self.names -= names
        self.kept |= names


def test_bytes_are_synced_before_they_have_a_name_and_names_before_the_record(tmp_path: Path) -> None:
    library, trace, lake = tmp_path / "durability.so", tmp_path / "trace", tmp_path / "lake"
    source = Path(__file__).parent / "support" / "durability.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    env = {"SOURCE_URL": f"sqlite:{tmp_path}/invoices.db", "LAKE_URL": lake.as_uri()}
    run("populate_tables", "--customers", "20", "--invoices", "600", "--seed", "1", "--until",
        "2025-03-31", "--months", "3", env=env)  # fmt: skip
    env |= {"LD_PRELOAD": str(library), "SYNC_TRACE": str(trace), "SYNC_ROOT": str(lake)}
    for task in ("query_source", "aggregate_by_business", "write_partitioned_parquet"):
        run(task, *WINDOW, env=env)

    disk = Disk(lake)
    written = records = 0
    for line in trace.read_text().splitlines():
        what, *paths = line.split("\t")
        first, second = Path(paths[0]), Path(paths[1])
        match what:
            case "write":
                disk.write(first)
                written += 1
            case "sync":
                disk.sync(first)
            case "sync all":
                disk.sync_all()
            # A name in _tmp is seen by nobody.
            case _ if second.parent.name != "_tmp":
                # Bytes first: a name that outlives them would be an object that is cut or empty.
                assert first not in disk.bytes, line
                # All names of a partition before its record's, which says that they are there.
                if "_commits" in second.parts:
                    assert not [name for name in disk.names if second.stem in name.parts], second
                    records += 1
                disk.name(second)
    objects = [path for path in lake.rglob("*") if path.is_file() and "_tmp" not in path.parts]
    assert written >= len(objects) > records == len(list((lake / "_commits").rglob("*.json"))) > 0
    assert not disk.names
