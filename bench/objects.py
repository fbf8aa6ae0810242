"""Measures the literal layout: one object per business and month, thousands of them, into MinIO.

In one run and on one MinIO: the limit, which puts the same bodies under the same names from as
many connections and does nothing else; the project's `write_partitioned_parquet`; and DuckDB
writing the same rows with `partition_by`.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, date, datetime
from pathlib import Path
from statistics import median

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))

from contestants import PEERS_FOLDER, base_environment  # noqa: E402
from measure import run_command  # noqa: E402
from report import RESULTS_FOLDER, machine  # noqa: E402
from support.services import Bucket, Minio, Postgres  # noqa: E402
from support.tasks import binary, run  # noqa: E402

TABLE = "invoice_by_business"
CONNECTIONS = 32


def arguments() -> argparse.Namespace:
    """Read the sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--businesses", type=int, default=1000)
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--invoices", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    return parser.parse_args()


async def put_all(bucket: Bucket, bodies: dict[str, bytes], connections: int) -> None:
    """Put every body under its name, unsigned and without a client library's cost."""
    names = iter(bodies.items())
    host = bucket.server.endpoint.removeprefix("http://")

    async def worker() -> None:
        reader, writer = await asyncio.open_connection(*host.split(":"))
        for key, body in names:
            head = f"PUT /{bucket.name}/{key.replace('=', '%3D')} HTTP/1.1\r\nHost: {host}\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in answer.split(b"\r\n", 1)[0]:
                raise SystemExit(f"MinIO said {answer.decode(errors='replace')}")
        writer.close()

    await asyncio.gather(*(worker() for _ in range(connections)))


def limit(source: Bucket, target: Bucket, keys: list[str]) -> float:
    """Seconds that plain puts of the same objects take."""
    policy = (
        '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*",'
        f'"Action":"s3:PutObject","Resource":"arn:aws:s3:::{target.name}/*"}}]}}'
    )
    target.client.put_bucket_policy(Bucket=target.name, Policy=policy)
    bodies = {key: source.read(key) for key in keys}
    started = time.perf_counter()
    asyncio.run(put_all(target, bodies, CONNECTIONS))
    return time.perf_counter() - started


def main() -> None:
    """Fill, stage once, then write the same statistics into an empty bucket each time."""
    options = arguments()
    until = date(2025, 12, 31)
    window = ["--as-of", str(until), "--months", str(options.months)]
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="invoice-bench-")))
        server, minio = stack.enter_context(Postgres()), stack.enter_context(Minio())
        database = server.create_database("bench")
        run("populate_tables", "--source", database.url(), "--customers", options.businesses,
            "--invoices", options.invoices, "--until", until, "--months", options.months,
            env=database.env(), timeout=600)  # fmt: skip
        environment = base_environment() | minio.env | database.env()
        rows: dict[str, list[float]] = {}
        cpu: dict[str, list[float]] = {}
        for _ in range(options.runs):
            ours, plain, theirs = minio.bucket(), minio.bucket(), minio.bucket()
            for task in ("query_source", "aggregate_by_business"):
                source = ["--source", database.url()] if task == "query_source" else []
                run(task, *source, "--lake", ours.url, *window, env=environment)
            command = [str(binary("write_partitioned_parquet")), "--lake", ours.url, *window]
            sample = run_command(command, environment)
            rows.setdefault("project, write_partitioned_parquet", []).append(sample.seconds)
            cpu.setdefault("project, write_partitioned_parquet", []).append(sample.cpu_seconds)
            keys = ours.keys(TABLE)
            rows.setdefault("limit: plain puts of the same bytes", []).append(limit(ours, plain, keys))
            staged = ours.download(scratch / ours.name, "_staging/")
            peer = [sys.executable, str(PEERS_FOLDER / "duckdb_objects.py"), str(staged), theirs.url]
            sample = run_command(peer, environment)
            rows.setdefault("duckdb, partition_by", []).append(sample.seconds)
            cpu.setdefault("duckdb, partition_by", []).append(sample.cpu_seconds)
            assert len(theirs.keys(TABLE)) == len(keys)
    today = datetime.now(UTC).date()
    lines = [
        f"# {len(keys):,} objects: {options.businesses:,} businesses, {options.months} months, {today}",
        "",
        f"{machine()}; MinIO on the same machine; medians of {options.runs} runs.",
        "",
        "| contestant | wall s | objects/s | client CPU s | runs s |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, seconds in rows.items():
        client = f"{median(cpu[name]):.1f}" if name in cpu else "-"
        each = " ".join(f"{value:.1f}" for value in seconds)
        middle = median(seconds)
        lines.append(f"| {name} | {middle:.1f} | {len(keys) / middle:,.0f} | {client} | {each} |")
    text = "\n".join([*lines, ""])
    RESULTS_FOLDER.mkdir(exist_ok=True)
    (RESULTS_FOLDER / f"{today}-{options.businesses}-businesses-objects.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
