"""Who takes part in the bench, and the commands that each one runs."""

import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from support.services import Bucket, Database, Minio, tools_folder
from support.tasks import binary

PEERS_FOLDER = Path(__file__).resolve().parent / "peers"
PEERS = ("pyspark_jdbc", "duckdb_sql", "connectorx_polars", "duckdb_grouped")
# These write the statistics and no copy of the invoices.
GROUPED_ONLY = ("duckdb_grouped",)
LIMIT = "limit: psql copy binary"
PROJECT = "project"


@dataclass(frozen=True)
class Place:
    """Where one run writes: a URL for the project, a folder for the peers."""

    url: str
    folder: Path
    bucket: Bucket | None = None

    def local_copy(self) -> Path:
        """Return a folder with all that was written, for the check afterwards."""
        return self.bucket.download(self.folder) if self.bucket else self.folder

    def remove(self) -> None:
        """Delete what was written."""
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True, eq=False)
class Contestant:
    """One row of the result: commands that run one after the other in a place."""

    name: str
    months: int
    commands: Callable[[Place], list[list[str]]]
    env: Mapping[str, str]
    # Runs again on what its warm-up left, so nothing has changed.
    keeps_place: bool = False
    # False for who writes no statistics that could be checked.
    writes: bool = True
    # False for who writes the statistics alone.
    writes_invoices: bool = True


def window_flags(options: Namespace, months: int) -> list[str]:
    """Return the flags for the newest `months` months, understood by tasks and peers."""
    return ["--as-of", str(options.until), "--months", str(months)]


def limit(database: Database, options: Namespace, months: int, first: date) -> Contestant:
    """Read all rows and do nothing with them: no batch job can be faster over one connection."""
    rows = "select * from invoices"
    if months != options.months:
        rows += f" where issue_date >= '{first}'"
    command = ["psql", "--no-psqlrc", f"--dbname={database.url()}"]
    command.append(f"--command=copy ({rows}) to stdout (format binary)")
    return Contestant(LIMIT, months, lambda _: [command], database.env(), writes=False)


def query_source(database: Database, place: Place, window: list[str]) -> list[str]:
    """Return the command of the project's first task."""
    return [str(binary("query_source")), "--source", database.url(), "--lake", place.url, *window]


def reading_alone(database: Database, options: Namespace, months: int, minio: Minio | None) -> Contestant:
    """Run the project's first task alone, to be compared with the limit."""
    window = window_flags(options, months)
    env = database.env() | (minio.env if minio else {})
    return Contestant(
        f"{PROJECT}, query_source",
        months,
        lambda place: [query_source(database, place, window)],
        env,
        writes=False,
    )


def project(
    database: Database, options: Namespace, months: int, minio: Minio | None, *, unchanged: bool
) -> Contestant:
    """Run the project's three tasks, on an empty lake or again on a filled one."""
    window = window_flags(options, months)

    def commands(place: Place) -> list[list[str]]:
        lake = ["--lake", place.url, *window]
        return [
            query_source(database, place, window),
            [str(binary("aggregate_by_business")), *lake],
            [str(binary("write_partitioned_parquet")), *lake, "--partition-by", "month"],
        ]

    env = database.env() | (minio.env if minio else {})
    name = f"{PROJECT}, nothing changed" if unchanged else PROJECT
    return Contestant(name, months, commands, env, keeps_place=unchanged)


def peer(database: Database, options: Namespace, months: int, name: str, jar: str) -> Contestant:
    """Run one of the scripts in bench/peers."""
    script = PEERS_FOLDER / f"{name}.py"

    def commands(place: Place) -> list[list[str]]:
        output = ["--output", str(place.folder)]
        return [[sys.executable, str(script), *output, *window_flags(options, months)]]

    env = {"SOURCE_URL": database.admin_url, "POSTGRES_JDBC_JAR": jar}
    return Contestant(name, months, commands, env, writes_invoices=name not in GROUPED_ONLY)


def jdbc_jar() -> str | None:
    """Find the JDBC driver that `scripts/setup.sh bench` fetches where Maven is."""
    jars = sorted((tools_folder() / "jars").glob("postgresql-*.jar"))
    return str(jars[-1]) if jars else None


def chosen_peers(wanted: str) -> list[str]:
    """Return the peers asked for, less those that can't run here, which is said aloud."""
    names = {"all": list(PEERS), "none": []}.get(wanted, wanted.split(","))
    if unknown := set(names) - set(PEERS):
        sys.exit(f"no such peer: {', '.join(sorted(unknown))} (there are {', '.join(PEERS)})")
    if "pyspark_jdbc" in names and not (jdbc_jar() and shutil.which("java")):
        print("SKIPPED pyspark_jdbc: it needs Java and Maven's JDBC driver", file=sys.stderr)
        names.remove("pyspark_jdbc")
    return names


def contestants(
    database: Database, options: Namespace, minio: Minio | None, first_of_last_month: date
) -> list[Contestant]:
    """Return everyone, over all months and then over the newest one."""
    everyone = []
    for months in dict.fromkeys((options.months, 1)):
        everyone.append(limit(database, options, months, first_of_last_month))
        everyone.append(reading_alone(database, options, months, minio))
        for unchanged in (False, True):
            everyone.append(project(database, options, months, minio, unchanged=unchanged))
        for name in options.peers:
            everyone.append(peer(database, options, months, name, jdbc_jar() or ""))
    return everyone


def base_environment() -> dict[str, str]:
    """Return what every contestant inherits, and nothing else."""
    names = ("PATH", "HOME", "LANG", "TMPDIR", "JAVA_HOME")
    return {name: os.environ[name] for name in names if name in os.environ}
