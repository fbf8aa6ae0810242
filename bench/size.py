"""Measures how the batch path grows: skewed invoices between a million businesses, ten times as many.

One business issues 30 % of all invoices. For every size the three tasks run once over all months into an
empty local lake, in bucket form. What must hold: seconds grow as rows do, memory does not, and objects
are of one size, however skewed the invoices are.
"""

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))

from contestants import base_environment  # noqa: E402
from measure import Sample, run_command  # noqa: E402
from report import RESULTS_FOLDER, machine  # noqa: E402
from support.services import Database, Postgres  # noqa: E402
from support.tasks import binary  # noqa: E402

AS_OF, MONTHS = "2025-12-31", 36
TASKS = ("query_source", "aggregate_by_business", "write_partitioned_parquet")

# Drawn by hashes of the id, so that every run has the same table; one connection makes each half.
INVOICES = """
insert into invoices
select id,
       timestamp '2023-01-01'
           + (timestamp '2026-01-01' - timestamp '2023-01-01') * ((id - 1)::float8 / %(rows)s),
       case when drawn(id, 1) %% 10 < 3 then 1 else 1 + drawn(id, 2) %% %(businesses)s end,
       1 + drawn(id, 3) %% %(businesses)s,
       (drawn(id, 4) %% 10000000)::numeric / 100
from generate_series(1 + %(part)s * (%(rows)s / 2), (%(part)s + 1) * (%(rows)s / 2)) as id
"""
DRAWN = """
create function drawn(id bigint, choice bigint) returns bigint immutable parallel safe
return hashint8extended(id, choice) & 9223372036854775807
"""


@dataclass(frozen=True)
class Size:
    """What was measured at one size."""

    rows: int
    samples: dict[str, Sample]
    objects: list[int]

    @property
    def seconds(self) -> float:
        """Seconds of the three tasks together."""
        return sum(sample.seconds for sample in self.samples.values())


def arguments() -> argparse.Namespace:
    """Read the sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--invoices", type=int, nargs="+", default=[10_000_000, 100_000_000])
    parser.add_argument("--businesses", type=int, default=1_000_000)
    parser.add_argument("--buckets", type=int, default=4)
    return parser.parse_args()


def say(text: str) -> None:
    """Tell how far we are."""
    print(f"size: {text}", file=sys.stderr, flush=True)


def fill(server: Postgres, rows: int, businesses: int) -> Database:
    """Make the table, with the index that the tasks use and nothing else that would only cost time."""
    database = server.create_database(f"size_{rows}")
    database.sql("alter table invoices drop constraint invoices_pkey cascade")
    for [name] in database.sql(
        "select conname from pg_constraint where conrelid = 'invoices'::regclass and contype = 'f'"
    ):
        database.sql(f"alter table invoices drop constraint {name}")
    for [name] in database.sql("select indexname from pg_indexes where tablename = 'invoices'"):
        database.sql(f"drop index {name}")
    database.sql(DRAWN)
    halves = [{"part": part, "rows": rows, "businesses": businesses} for part in range(2)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda half: database.sql(INVOICES % half), halves))
    database.sql("create index on invoices using brin (issue_date)")
    database.sql("vacuum (analyze, freeze) invoices")
    database.sql("checkpoint")
    return database


def measure(database: Database, rows: int, options: argparse.Namespace) -> Size:
    """Run the three tasks into an empty lake."""
    samples = {}
    with tempfile.TemporaryDirectory(prefix="invoice-size-") as folder:
        lake = Path(folder) / "lake"
        for task in TASKS:
            command = [str(binary(task)), "--lake", lake.as_uri(), "--as-of", AS_OF, "--months", str(MONTHS)]
            if task == "query_source":
                command += ["--source", database.url()]
            if task == "write_partitioned_parquet":
                command += ["--partition-by", f"month,bucket(business_id,{options.buckets})"]
            samples[task] = run_command(command, base_environment() | database.env())
            sample = samples[task]
            say(f"{rows:,} invoices: {task} {sample.seconds:.1f} s, {sample.peak_rss_mib:.0f} MiB")
        objects = [path.stat().st_size for path in (lake / "invoice_by_business").rglob("*.parquet")]
    return Size(rows, samples, objects)


def report(sizes: list[Size], options: argparse.Namespace) -> str:
    """Write the result file and return its text."""
    today = datetime.now(UTC).date()
    first = sizes[0]
    lines = [
        f"# Skew and size: {options.businesses:,} businesses, one of which issues 30 % of all invoices,"
        f" {today}",
        "",
        f"{machine()}; {MONTHS} months into a local lake, `month,bucket(business_id,{options.buckets})`;"
        " Postgres on the same machine; one run.",
        "",
        "| task | "
        + " | ".join(f"{size.rows:,} invoices" for size in sizes)
        + " | time per row, last to first |",
        "| --- |" + " --- |" * (len(sizes) + 1),
    ]

    def growth(of: dict[int, float]) -> str:
        last = sizes[-1].rows
        return f"{of[last] / last / (of[first.rows] / first.rows):.2f}"

    for task in TASKS:
        cells = [f"{s.samples[task].seconds:.1f} s, {s.samples[task].peak_rss_mib:.0f} MiB" for s in sizes]
        slope = growth({size.rows: size.samples[task].seconds for size in sizes})
        lines.append(f"| {task} | {' | '.join(cells)} | {slope} |")
    cells = [f"{size.seconds:.1f} s" for size in sizes]
    lines.append(f"| all | {' | '.join(cells)} | {growth({size.rows: size.seconds for size in sizes})} |")
    cells = [
        f"{len(s.objects):,} of {min(s.objects) / 2**20:.1f} to {max(s.objects) / 2**20:.1f},"
        f" median {median(s.objects) / 2**20:.1f} MiB"
        for s in sizes
    ]
    lines.append(f"| objects of invoice_by_business | {' | '.join(cells)} | |")
    text = "\n".join([*lines, ""])
    RESULTS_FOLDER.mkdir(exist_ok=True)
    (RESULTS_FOLDER / f"{today}-size-{sizes[-1].rows}-invoices.md").write_text(text)
    return text


def main() -> None:
    """Fill and measure every size."""
    options = arguments()
    sizes = []
    with ExitStack() as stack:
        server = stack.enter_context(Postgres(settings={"shared_buffers": "1GB", "max_wal_size": "16GB"}))
        for rows in sorted(options.invoices, reverse=True):
            say(f"filling {rows:,} invoices")
            database = fill(server, rows, options.businesses)
            sizes.append(measure(database, rows, options))
            database.drop()
    print(report(sizes[::-1], options))


if __name__ == "__main__":
    main()
