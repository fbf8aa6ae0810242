"""Measures `aggregate_by_business` by Polars against `--engine spark`, on Spark 4 and on Sail, from one lake.

The servers run on this machine with the same cores, and are warm: their first run is not counted.
Everybody must stage the same bytes. The memory of a server is its peak over all of its runs.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, date, datetime
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))

from contestants import base_environment  # noqa: E402
from measure import medians, run_command  # noqa: E402
from report import RESULTS_FOLDER, machine  # noqa: E402
from support.process import peak_rss_mib  # noqa: E402
from support.services import Postgres  # noqa: E402
from support.spark import ConnectServer, Sail, Spark  # noqa: E402
from support.tasks import binary, run  # noqa: E402

UNTIL = date(2025, 12, 31)


def arguments() -> argparse.Namespace:
    """Read the sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--invoices", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--months", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--spark-memory", default="4g")
    return parser.parse_args()


def fill(lake: Path, options: argparse.Namespace, invoices: int) -> None:
    """Make a lake with so many invoices, by way of a database."""
    with Postgres() as server:
        database = server.create_database("bench")
        run("populate_tables", "--source", database.url(), "--customers", options.customers,
            "--invoices", invoices, "--until", UNTIL, "--months", options.months,
            env=database.env(), timeout=3600)  # fmt: skip
        run("query_source", "--source", database.url(), "--lake", lake.as_uri(), *window(options),
            env=database.env(), timeout=3600)  # fmt: skip


def window(options: argparse.Namespace) -> list[str]:
    """Return the flags of the whole window."""
    return ["--as-of", str(UNTIL), "--months", str(options.months)]


def contest(lake: Path, options: argparse.Namespace, flags: list[str]) -> tuple[list, bytes]:
    """Aggregate again and again from nothing; return the samples and what was staged."""
    command = [str(binary("aggregate_by_business")), "--lake", lake.as_uri(), *window(options), *flags]
    samples = []
    for _ in range(options.runs + 1):
        shutil.rmtree(lake / "_staging", ignore_errors=True)
        samples.append(run_command(command, base_environment()))
    staged = b"".join(path.read_bytes() for path in sorted((lake / "_staging").rglob("*.parquet")))
    return samples[1:], staged


def table(scratch: Path, options: argparse.Namespace, invoices: int) -> list[str]:
    """Measure one size; return its part of the report."""
    lake = scratch / f"lake-{invoices}"
    fill(lake, options, invoices)
    size = sum(path.stat().st_size for path in (lake / "invoices").rglob("*.parquet"))
    what = f"{invoices:,} invoices, {options.months} months, {options.customers:,} customers"
    lines = [
        f"## {what}: {size >> 20} MiB",
        "",
        "| engine | wall s | task CPU s | task memory MiB | server memory MiB | runs s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    servers: dict[str, Callable[[], ConnectServer] | None] = {
        "Polars, in the task": None,
        "Spark 4 through Spark Connect": lambda: Spark(memory=options.spark_memory, settings=BENCH_SETTINGS),
        "Sail through Spark Connect": Sail,
    }
    answers = set()
    for name, make in servers.items():
        with ExitStack() as stack:
            server = stack.enter_context(make()) if make else None
            flags = ["--engine", "spark", "--spark-remote", server.remote] if server else []
            samples, staged = contest(lake, options, flags)
            memory = f"{peak_rss_mib(server.process.pid):,.0f}" if server else "-"
        answers.add(staged)
        middle = medians(samples)
        each = " ".join(f"{sample.seconds:.1f}" for sample in samples)
        lines.append(
            f"| {name} | {middle.seconds:.1f} | {middle.cpu_seconds:.1f} | {middle.peak_rss_mib:,.0f} "
            f"| {memory} | {each} |"
        )
    if len(answers) != 1:
        raise SystemExit("the engines have not staged the same bytes")
    shutil.rmtree(lake)
    return [*lines, ""]


# The tests' settings make a server quick to start; here it should be quick to group.
BENCH_SETTINGS = {"spark.driver.extraJavaOptions": "-XX:+UseParallelGC"}


def main() -> None:
    """Measure every size and write the report."""
    options = arguments()
    today = datetime.now(UTC).date()
    lines = [
        f"# Polars and Spark Connect, {today}",
        "",
        f"{machine()}; servers on the same machine; medians of {options.runs} runs after a warm-up;",
        "everybody staged the same bytes.",
        "",
    ]
    with tempfile.TemporaryDirectory(prefix="invoice-bench-") as scratch:
        for invoices in options.invoices:
            lines += table(Path(scratch), options, invoices)
    text = "\n".join(lines)
    RESULTS_FOLDER.mkdir(exist_ok=True)
    (RESULTS_FOLDER / f"{today}-spark.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
