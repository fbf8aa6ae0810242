"""Measures the project against its peers and against the limit, all in one run.

Starts its own PostgreSQL (and MinIO for `--lake s3`), fills it with mock data, lets
everyone warm up once, checks what they wrote, then measures them in turn.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
from argparse import Namespace
from contextlib import ExitStack
from datetime import date
from importlib.metadata import version
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "bench" / "peers")]

from job import months_later  # noqa: E402

from contestants import Contestant, Place, chosen_peers, contestants  # noqa: E402
from measure import Sample, run_once  # noqa: E402
from report import save  # noqa: E402
from support.services import Database, Minio, Postgres  # noqa: E402
from support.tasks import run as run_task  # noqa: E402
from verify import ask_source, check  # noqa: E402


def arguments() -> Namespace:
    """Read the sizes of the bench."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--invoices", type=int, default=10_000_000)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--months", type=int, default=24)
    parser.add_argument("--until", type=date.fromisoformat, default=date(2025, 12, 31))
    parser.add_argument(
        "--data",
        choices=("mock", "even"),
        default="mock",
        help="mock: skewed businesses, dates that follow ids; even: both drawn evenly and independently",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peers", default="all", help="all, none, or names with commas")
    parser.add_argument("--lake", choices=("file", "s3"), default="file", help="of the project")
    parser.add_argument("--name", help="of the result files; made of the sizes by default")
    options = parser.parse_args()
    options.peers = chosen_peers(options.peers)
    suffix = "" if options.data == "mock" else f"-{options.data}"
    options.name = options.name or f"{options.invoices}-invoices{suffix}"
    return options


def say(text: str) -> None:
    """Tell how far we are."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def fill(server: Postgres, options: Namespace) -> Database:
    """Create the mock data and leave the table as a quiet database would have it."""
    say(f"filling {options.invoices:,} invoices")
    database = server.create_database("bench")
    if options.data == "even":
        fill_evenly(database, options)
        return database
    sizes = ["--customers", options.customers, "--invoices", options.invoices]
    seed = ["--seed", options.seed, "--until", options.until, "--months", options.months]
    run_task(
        "populate_tables", "--source", database.url(), *sizes, *seed,
        env=database.env(), timeout=3600,
    )  # fmt: skip
    database.sql("vacuum (analyze, freeze) invoices")
    database.sql("checkpoint")
    return database


def fill_evenly(database: Database, options: Namespace) -> None:
    """Draw businesses evenly and dates without regard to ids."""
    end = months_later(options.until, 1)
    window = f"timestamp '{months_later(end, -options.months)}', timestamp '{end}'"
    database.sql(
        f"insert into customers select n, 'Business ' || n from generate_series(1, {options.customers}) n"
    )
    database.sql("alter table invoices disable trigger all")
    database.sql(f"""
        select setseed({1 / (options.seed + 1)});
        insert into invoices
        select n, start + random() * (stop - start), 1 + floor(random() * {options.customers}),
               1 + floor(random() * {options.customers}), round((random() * 10000)::numeric, 2)
        from generate_series(1, {options.invoices}) n, (values ({window})) as dates (start, stop)""")
    database.sql("alter table invoices enable trigger all")
    database.sql("vacuum (analyze, freeze) invoices")
    database.sql("checkpoint")


class Places:
    """Hands out an empty place for every run."""

    def __init__(self, folder: Path, minio: Minio | None) -> None:
        """Make places under `folder`, and buckets when the lake is on S3."""
        self.folder = folder
        self.minio = minio
        self.count = 0

    def new(self) -> Place:
        """Return a folder that doesn't exist yet, with a bucket of its own if need be."""
        self.count += 1
        folder = self.folder / f"run-{self.count}"
        if self.minio is None:
            return Place(folder.as_uri(), folder)
        bucket = self.minio.bucket()
        return Place(bucket.url, folder, bucket)


def warm_up(everyone: list[Contestant], places: Places, database: Database, end: date) -> dict:
    """Run everyone once and check what they wrote; return the places to keep."""
    kept, expected = {}, {}
    for contestant in everyone:
        say(f"warming up and checking {contestant.name}, {contestant.months} months")
        place = places.new()
        run_once(contestant, place)
        if contestant.writes:
            first = months_later(end, -contestant.months)
            source = ask_source(database, f"issue_date >= '{first}' and issue_date < '{end}'")
            digests = check(place.local_copy(), source, contestant.name, contestant.writes_invoices)
            if expected.setdefault(contestant.months, digests) != digests:
                sys.exit(f"{contestant.name} has other statistics than those before it")
        if contestant.keeps_place:
            kept[contestant] = place
        else:
            place.remove()
    return kept


def measure(everyone: list[Contestant], places: Places, kept: dict, runs: int) -> list:
    """Measure in turns, so that a slow minute of the machine hits everyone alike."""
    samples: dict[Contestant, list[Sample]] = {contestant: [] for contestant in everyone}
    for number in range(1, runs + 1):
        for contestant in everyone:
            place = kept.get(contestant) or places.new()
            sample = run_once(contestant, place)
            samples[contestant].append(sample)
            say(f"run {number} of {runs}: {contestant.name}, {contestant.months} months: "
                f"{sample.seconds:.2f} s")  # fmt: skip
            if not contestant.keeps_place:
                place.remove()
    return list(samples.items())


def versions(database: Database) -> dict[str, str]:
    """Name the versions that the numbers belong to."""
    commit = subprocess.run(
        ["git", "-C", str(REPOSITORY), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
    )
    named = {name: version(name) for name in ("pyspark", "duckdb", "connectorx", "polars")}
    server = database.sql("show server_version")[0][0].split()[0]
    return {"project": commit.stdout.strip() or "uncommitted", "PostgreSQL": server, **named}


def main() -> None:
    """Start the servers, fill, check, measure, report."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = arguments()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="invoice-bench-")))
        server = stack.enter_context(Postgres(settings={"shared_buffers": "1GB"}))
        minio = stack.enter_context(Minio()) if options.lake == "s3" else None
        database = fill(server, options)
        first_of_last_month = options.until.replace(day=1)
        everyone = contestants(database, options, minio, first_of_last_month)
        places = Places(scratch, minio)
        kept = warm_up(everyone, places, database, months_later(first_of_last_month, 1))
        results = measure(everyone, places, kept, options.runs)
        print(save(results, options, versions(database)))


if __name__ == "__main__":
    main()
