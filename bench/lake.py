"""Measures questions to the lake on S3, against DuckDB on the same objects in the same run.

Every question is a new process that has read nothing before. DuckDB is its own command-line program, so
that nobody waits for Python. Both answers are compared, then both run in turn; at last each runs once
through a counter of bytes, which is in nobody's way while time is taken.
"""

import argparse
import csv
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from statistics import median
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))

import duckdb_extension_httpfs  # noqa: E402
import duckdb_extension_postgres_scanner  # noqa: E402

from contestants import base_environment  # noqa: E402
from report import RESULTS_FOLDER, machine  # noqa: E402
from support.services import Bucket, Database, Minio, Postgres  # noqa: E402
from support.tasks import binary, run  # noqa: E402

# Of a time of day with microseconds.
TRAILING_ZEROS = re.compile(r"(:\d\d\.\d+?)0+$")
UNTIL = date(2025, 12, 31)
LAST_QUARTER = "issue_date_yearmonth >= '2025-10-01'"


@dataclass(frozen=True)
class Question:
    """One question in SQL that both know; `{customers}` is the table of the database."""

    name: str
    sql: str
    joins: bool = False


def questions(business: int, buckets: int) -> list[Question]:
    """Return the questions of the bench for a lake of so many objects a month."""
    bucket = f"business_bucket = {business % buckets} AND " if buckets else ""
    return [
        Question(
            "totals of one business, all months",
            "SELECT issue_date_yearmonth, total_amount_issued, total_amount_received, issued_count,"
            f" received_count FROM invoice_by_business WHERE {bucket}business_id = {business} ORDER BY 1",
        ),
        Question(
            "all columns of one business, all months",
            "SELECT issue_date_yearmonth, total_amount_issued, total_amount_received, issued_count,"
            " received_count, min_amount_issued, max_amount_issued, min_amount_received, max_amount_received,"
            " first_issue_date, last_issue_date, counterparties FROM invoice_by_business"
            f" WHERE {bucket}business_id = {business} ORDER BY 1",
        ),
        Question(
            "top 100 businesses of a quarter",
            "SELECT business_id, SUM(total_amount_issued) AS total FROM invoice_by_business"
            f" WHERE {LAST_QUARTER} GROUP BY business_id ORDER BY total DESC, business_id LIMIT 100",
        ),
        Question(
            "a quarter joined with customers",
            "SELECT c.customer_name, SUM(b.total_amount_issued) AS total FROM invoice_by_business AS b"
            " JOIN customers AS c ON c.customer_id = b.business_id"
            f" WHERE b.{LAST_QUARTER} GROUP BY c.customer_name"
            " ORDER BY total DESC, c.customer_name LIMIT 100",
            joins=True,
        ),
    ]


# Over every invoice: what costs is reading, joining, grouping and sorting, not the start.
LARGE = [
    Question(
        "all invoices joined with customers",
        "SELECT c.customer_name, COUNT(*) AS n, SUM(i.amount_usd) AS total FROM invoices AS i"
        " JOIN customers AS c ON c.customer_id = i.receiver_id GROUP BY c.customer_name"
        " ORDER BY total DESC, c.customer_name LIMIT 100",
        joins=True,
    ),
    Question(
        "all invoices joined with customers twice, by month",
        "SELECT i.issue_date_yearmonth, COUNT(*) AS n, SUM(i.amount_usd) AS total, MIN(c.customer_name) AS a,"
        " MAX(r.customer_name) AS z FROM invoices AS i JOIN customers AS c ON c.customer_id = i.issuer_id"
        " JOIN customers AS r ON r.customer_id = i.receiver_id GROUP BY 1 ORDER BY 1",
        joins=True,
    ),
    Question(
        "distinct receivers of every business",
        "SELECT issuer_id, COUNT(DISTINCT receiver_id) AS n FROM invoices GROUP BY issuer_id"
        " ORDER BY n DESC, issuer_id LIMIT 100",
    ),
    Question(
        "distinct businesses of every month",
        "SELECT issue_date_yearmonth, COUNT(DISTINCT issuer_id), COUNT(DISTINCT receiver_id) FROM invoices"
        " GROUP BY issue_date_yearmonth ORDER BY issue_date_yearmonth",
    ),
    Question(
        "three largest invoices of every business",
        "SELECT COUNT(*), SUM(amount_usd) FROM (SELECT amount_usd, ROW_NUMBER() OVER (PARTITION BY issuer_id"
        " ORDER BY amount_usd DESC, invoice_id) AS place FROM invoices) AS t WHERE place <= 3",
    ),
]


def arguments() -> argparse.Namespace:
    """Read the sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--invoices", type=int, default=10_000_000)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--months", type=int, default=24)
    parser.add_argument("--buckets", type=int, nargs="+", default=[0, 16], help="0: an object per month")
    parser.add_argument(
        "--business", type=int, default=61302, help="trades every month; 4242 is missing in some"
    )
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--large-runs", type=int, default=3, help="of the questions over every invoice")
    return parser.parse_args()


class Counter:
    """Forwards connections to a server and counts the bytes that it sends back."""

    def __init__(self, port: int) -> None:
        """Listen on a free port of 127.0.0.1."""
        self.target = port
        self.bytes = 0
        self.requests = 0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        """Serve connections until the process ends."""
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(("127.0.0.1", self.target))
            threading.Thread(target=self.copy, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self.copy, args=(server, client, True), daemon=True).start()

    def copy(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        """Pass on what comes until one side is gone."""
        try:
            while chunk := source.recv(65536):
                with self.lock:
                    self.bytes += len(chunk) if counted else 0
                    self.requests += chunk.count(b" HTTP/1.1\r\n") if not counted else 0
                sink.sendall(chunk)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)


@dataclass
class Contestant:
    """Who answers, and what was measured of it."""

    name: str
    seconds: dict[str, list[float]] = field(default_factory=dict)
    received: dict[str, tuple[int, int]] = field(default_factory=dict)


def ours(question: Question, bucket: Bucket, database: Database, endpoint: str) -> tuple[list[str], dict]:
    """Return the project's command."""
    command = [str(binary("query_lake")), "--lake", bucket.url, "--format", "csv"]
    if question.joins:
        command += ["--with", f"customers={database.url()}#customers"]
    env = base_environment() | bucket.env | database.env() | {"AWS_ENDPOINT_URL": endpoint}
    return [*command, question.sql], env


def extension(module: object) -> str:
    """Find the extension in its package."""
    return str(next(Path(module.__file__).parent.rglob("*.duckdb_extension")))


def theirs(question: Question, bucket: Bucket, database: Database, endpoint: str) -> tuple[list[str], dict]:
    """Return DuckDB's command: the view is what `query_lake ddl --engine duckdb` prints."""
    env = bucket.env
    setup = [
        f"LOAD '{extension(duckdb_extension_httpfs)}'",
        f"CREATE SECRET (TYPE s3, KEY_ID '{env['AWS_ACCESS_KEY_ID']}',"
        f" SECRET '{env['AWS_SECRET_ACCESS_KEY']}', ENDPOINT '{endpoint.removeprefix('http://')}',"
        " USE_SSL false, URL_STYLE 'path')",
    ]
    ddl = run("query_lake", "ddl", "--engine", "duckdb", "--lake", bucket.url, env=env, check=False).stdout
    views = "\n".join(line for line in ddl.splitlines() if not line.startswith("--"))
    wanted = "VIEW invoice_by_business" if "invoice_by_business" in question.sql else "VIEW invoices"
    setup += [view for view in views.split(";") if wanted in view]
    if question.joins:
        setup += [
            f"LOAD '{extension(duckdb_extension_postgres_scanner)}'",
            f"ATTACH '{database.url()}' AS source (TYPE postgres, READ_ONLY)",
            "CREATE VIEW customers AS FROM source.public.customers",
        ]
    # What the preparation prints is no part of the answer.
    prepare = [word for statement in setup for word in ("-cmd", f"{statement};")]
    quiet = ["-cmd", ".output /dev/null", *prepare, "-cmd", ".output"]
    return ["duckdb", "-unsigned", "-csv", *quiet, "-c", question.sql], base_environment() | database.env()


def answer(command: list[str], env: dict) -> str:
    """Run a command and return what it printed."""
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command[0]} ended with {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def rows(text: str) -> list[list[str]]:
    """Return the rows that an answer prints, without its heading, written as DuckDB writes them."""
    _, *lines = csv.reader(text.replace("\r", "").splitlines())
    return [[TRAILING_ZEROS.sub(r"\1", cell) or "NULL" for cell in line] for line in lines]


def fill(postgres: Postgres, bucket: Bucket, options: argparse.Namespace) -> Database:
    """Make the mock data and the lake but for its last step."""
    database = postgres.create_database("bench")
    run("populate_tables", "--source", database.url(), "--customers", options.customers,
        "--invoices", options.invoices, "--until", UNTIL, "--months", options.months,
        env=database.env(), timeout=3600)  # fmt: skip
    for task in ("query_source", "aggregate_by_business"):
        source = ["--source", database.url()] if task == "query_source" else []
        run(task, *source, *window(bucket, options), env=bucket.env | database.env(), timeout=3600)
    return database


def window(bucket: Bucket, options: argparse.Namespace) -> list[object]:
    """Return the flags that say which months of which lake."""
    return ["--lake", bucket.url, "--as-of", UNTIL, "--months", options.months]


def measure(
    question: Question,
    contestants: list[tuple[Contestant, Any]],
    bucket: Bucket,
    database: Database,
    runs: int,
) -> None:
    """Compare the answers, measure in turn, then count bytes."""
    minio = bucket.server
    answers = []
    for _, command_of in contestants:
        answers.append(rows(answer(*command_of(question, bucket, database, minio.endpoint))))
    if answers[0] != answers[1] or not answers[0]:
        sys.exit(f"{question.name}: other answers\n{answers[0][:3]}\n{answers[1][:3]}")
    for _ in range(runs):
        for contestant, command_of in contestants:
            command, env = command_of(question, bucket, database, minio.endpoint)
            started = time.perf_counter()
            answer(command, env)
            contestant.seconds.setdefault(question.name, []).append(time.perf_counter() - started)
    for contestant, command_of in contestants:
        counter = Counter(minio.port)
        answer(*command_of(question, bucket, database, f"http://127.0.0.1:{counter.port}"))
        contestant.received[question.name] = (counter.bytes, counter.requests)


def main() -> None:
    """Fill, cut the statistics in every way, measure every question."""
    options = arguments()
    today = datetime.now(UTC).date()
    parts = [
        f"# Questions to the lake: {options.invoices:,} invoices, {options.customers:,} businesses,"
        f" {today}\n\n"
        f"{machine()}; MinIO and Postgres on the same machine; a new process for every question; medians of"
        f" {options.runs} runs in turn; bytes and requests over the wire.\n"
    ]
    with ExitStack() as stack:
        postgres, minio = stack.enter_context(Postgres()), stack.enter_context(Minio())
        bucket = minio.bucket()
        database = fill(postgres, bucket, options)
        for buckets in options.buckets:
            by = f"month,bucket(business_id,{buckets})" if buckets else "month"
            flags = [*window(bucket, options), "--partition-by", by]
            run("write_partitioned_parquet", *flags, env=bucket.env, timeout=3600)
            project, peer = Contestant("query_lake"), Contestant("DuckDB")
            for question in questions(options.business, buckets):
                measure(question, [(project, ours), (peer, theirs)], bucket, database, options.runs)
            parts.append(
                table(f"`{by}`, {len(bucket.keys('invoice_by_business/')):,} objects", project, peer)
            )
        if options.large_runs:
            project, peer = Contestant("query_lake"), Contestant("DuckDB")
            for question in LARGE:
                measure(question, [(project, ours), (peer, theirs)], bucket, database, options.large_runs)
            objects = len(bucket.keys("invoices/"))
            parts.append(table(f"`invoices`, {objects:,} objects, {options.large_runs} runs", project, peer))
    text = "\n".join(parts)
    RESULTS_FOLDER.mkdir(exist_ok=True)
    (RESULTS_FOLDER / f"{today}-lake-{options.invoices}-invoices.md").write_text(text)
    print(text)


def table(heading: str, project: Contestant, peer: Contestant) -> str:
    """Return the table of one way to cut the statistics, or of the large questions."""
    lines = [
        f"{heading}:",
        "",
        "| question | query_lake s | DuckDB s | ratio | query_lake bytes | DuckDB bytes | requests |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in project.seconds:
        mine, other = median(project.seconds[name]), median(peer.seconds[name])
        (bytes_mine, requests_mine), (bytes_other, requests_other) = (
            project.received[name],
            peer.received[name],
        )
        lines.append(
            f"| {name} | {mine:.3f} | {other:.3f} | {mine / other:.2f} | {bytes_mine:,} | {bytes_other:,}"
            f" | {requests_mine}, {requests_other} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
