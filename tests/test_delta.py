"""The lake as Delta tables: read by delta-rs, by DuckDB through Delta's kernel, and by Spark."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb
import duckdb_extension_delta
import pytest
from deltalake import DeltaTable

from support.oracle import run_batch
from support.services import Bucket, Database, Postgres, tools_folder
from support.tasks import run, start

AS_OF, MONTHS = "2026-01-31", 3
FIRSTS = ("2025-11-01", "2025-12-01", "2026-01-01")
TABLES = ("invoices", "invoice_by_business", "business_last_n_months")
BUCKETS = ["--partition-by", "month,bucket(business_id,4)"]
WINDOW = "issue_date >= '2025-11-01' and issue_date < '2026-02-01'"

# Counts and sums per month, again and again until a file names versions, which are asked for at last.
SPARK = """
import json, sys, time
from pathlib import Path
from pyspark.sql import SparkSession
jars, table, stop = sys.argv[1:]
spark = (SparkSession.builder.master("local[1]").config("spark.jars", jars)
    .config("spark.ui.enabled", "false").config("spark.sql.session.timeZone", "UTC")
    .config("spark.sql.shuffle.partitions", "1").config("spark.databricks.delta.snapshotPartitions", "1")
    .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
    .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
    .getOrCreate())
spark.sparkContext.setLogLevel("ERROR")
question = f"select count(*), sum(amount_usd) from delta.`{table}`"
groups = " group by issue_date_yearmonth order by issue_date_yearmonth"
def ask(text):
    return [[int(value) for value in row] for row in spark.sql(text).collect()]
seen = []
while not Path(stop).exists() or not seen:
    seen.append(ask(question + groups))
versions = json.loads(Path(stop).read_text())
travelled = [ask(f"{question} version as of {version}{groups}") for version in versions]
print("ANSWERS " + json.dumps([seen, travelled]))
"""


@pytest.fixture(scope="module")
def filled(postgres: Postgres) -> Iterator[Database]:
    """Three months of invoices between 20 customers, some without a receiver."""
    database = postgres.create_database()
    source = {"SOURCE_URL": database.url(), **database.env()}
    run("populate_tables", "--customers", 20, "--invoices", 3000, "--months", 3, "--until", AS_OF, env=source)
    database.sql("update invoices set receiver_id = null where invoice_id % 50 = 0")
    yield database
    database.drop()


@pytest.fixture
def lake(filled: Database, tmp_path: Path) -> Path:
    """The lake of these months, an object per month and business, and its Delta tables."""
    folder = tmp_path / "lake"
    run_batch(environment(filled), folder.as_uri(), AS_OF, MONTHS)
    publish(folder)
    return folder


def environment(database: Database) -> dict[str, str]:
    """Return what tells the tasks of the source."""
    return {"SOURCE_URL": database.url(), **database.env()}


def publish(lake: Path, *flags: object) -> dict[str, dict]:
    """Publish and return the facts of each table."""
    return run("query_lake", "publish", "--lake", lake.as_uri(), *flags).result["tables"]


def in_duckdb(question: str, **tables: Path) -> list[tuple]:
    """Ask DuckDB, whose reader is Delta's own kernel."""
    with duckdb.connect() as connection:
        package = Path(duckdb_extension_delta.__file__).parent
        connection.execute(f"load '{next(package.rglob('delta.duckdb_extension'))}'")
        for name, folder in tables.items():
            connection.execute(f"create view {name} as from delta_scan('{folder.as_uri()}')")
        return connection.sql(question).fetchall()


def in_delta_rs(question: str, table: DeltaTable) -> list[tuple]:
    """Ask delta-rs for the rows; DuckDB only adds them up."""
    rows = table.to_pyarrow_table()
    with duckdb.connect() as connection:
        connection.register("t", rows)
        return connection.sql(question).fetchall()


MONTHLY = (
    "select issue_date_yearmonth, count(*), sum(amount_usd) from {} group by 1 order by issue_date_yearmonth"
)


def monthly(database: Database) -> list[tuple]:
    """Answer what MONTHLY asks in Postgres."""
    return database.sql(
        "select date_trunc('month', issue_date)::date, count(*), sum(amount_usd) from invoices"
        f" where {WINDOW} group by 1 order by 1"
    )


def test_two_readers_answer_as_postgres_over_the_same_files(filled: Database, lake: Path) -> None:
    delta = {name: lake / "delta" / name for name in TABLES}
    want = monthly(filled)
    assert in_duckdb(MONTHLY.format("invoices"), **delta) == want
    assert in_delta_rs(MONTHLY.format("t"), DeltaTable(delta["invoices"].as_uri())) == want

    issued = filled.sql(
        "select issuer_id, sum(amount_usd) from invoices where issue_date >= '2026-01-01'"
        f" and {WINDOW} group by 1 order by 1"
    )
    by_business = (
        "select business_id, total_amount_issued from {} where issue_date_yearmonth = '2026-01-01'"
        " and issued_count > 0 order by 1"
    )
    assert in_duckdb(by_business.format("invoice_by_business"), **delta) == issued
    without = "select sum(total_amount_received) from {} where business_id is null"
    expected = filled.sql(f"select sum(amount_usd) from invoices where receiver_id is null and {WINDOW}")
    assert in_duckdb(without.format("invoice_by_business"), **delta) == expected
    table = DeltaTable(delta["invoice_by_business"].as_uri())
    assert in_delta_rs(without.format("t"), table) == expected
    window = "select months, as_of, sum(total_amount_issued) from business_last_n_months group by all"
    assert in_duckdb(window, **delta) == [(3, date(2026, 1, 1), sum(row[2] for row in want))]

    # Not one byte was copied: every file of the Delta tables is an object of the lake by another name.
    for name, folder in delta.items():
        objects = {path.stat().st_ino for path in (lake / name).rglob("*.parquet")}
        files = {path.stat().st_ino for path in folder.rglob("part-*.parquet")}
        assert files == objects
    assert not any(facts["is_new"] for facts in publish(lake).values())


def test_readers_see_whole_runs_while_others_write(database: Database, tmp_path: Path) -> None:
    """Run n gives every month an invoice worth n: all months agree, or a reader saw half a run."""
    lake, table = tmp_path / "lake", tmp_path / "lake" / "delta" / "invoices"
    database.sql("insert into customers values (1, 'x')")
    stop = tmp_path / "stop"
    runs = 0

    def write_once() -> None:
        nonlocal runs
        for month, first in enumerate(FIRSTS):
            database.sql("insert into invoices values (%s, %s, 1, 1, %s)", 10 * runs + month, first, runs + 1)
        where = ("--lake", lake.as_uri(), "--as-of", AS_OF, "--months", MONTHS)
        run("query_source", *where, env=environment(database))
        publish(lake)
        runs += 1

    write_once()
    jars = ",".join(str(jar) for jar in tools_folder().glob("delta-spark-*/*.jar"))
    command = [sys.executable, "-c", SPARK, jars, str(table), str(stop)]
    env = os.environ | {"SPARK_LOCAL_IP": "127.0.0.1"}
    spark = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True)
    ended = threading.Event()
    failures: list[BaseException] = []

    def write() -> None:
        try:
            while not ended.is_set():
                write_once()
                time.sleep(0.5)
        except BaseException as error:
            failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    try:
        question = "select count(*), sum(amount_usd) from {} group by issue_date_yearmonth"
        until = time.monotonic() + 15
        while time.monotonic() < until or runs < 12:
            assert not failures, failures
            seen.append(in_duckdb(question.format("t"), t=table))
            seen.append(in_delta_rs(question.format("t"), DeltaTable(table.as_uri())))
    finally:
        ended.set()
        writer.join()
        versions = [0, runs // 2, runs - 1]
        stop.with_suffix(".new").write_text(json.dumps(versions))
        stop.with_suffix(".new").rename(stop)
        out, _ = spark.communicate(timeout=240)
    assert not failures, failures
    answers = [line for line in out.splitlines() if line.startswith("ANSWERS ")]
    assert answers, out[-2000:]
    by_spark, travelled = json.loads(answers[0].removeprefix("ANSWERS "))
    for months in seen + by_spark:
        [(count, total)] = {(int(count), int(total)) for count, total in months}
        assert (len(months), total) == (3, count * (count + 1) // 2)
    assert len({months[0][0] for months in seen}) > 2
    # Earlier runs are still there, also before a checkpoint.
    assert travelled == [[[v + 1, (v + 1) * (v + 2) // 2]] * 3 for v in versions]
    for version in versions:
        rows = DeltaTable(table.as_uri(), version=version).to_pyarrow_table().num_rows
        assert rows == 3 * (version + 1)
    assert (table / "_delta_log" / "_last_checkpoint").exists()

    # A checkpoint stands for the commits before it.
    last = json.loads((table / "_delta_log" / "_last_checkpoint").read_text())["version"]
    copy = tmp_path / "copy"
    shutil.copytree(table, copy, copy_function=os.link)
    for version in range(last):
        (copy / "_delta_log" / f"{version:020}.json").unlink()
    want = in_duckdb(MONTHLY.format("t"), t=table)
    assert in_duckdb(MONTHLY.format("t"), t=copy) == want
    assert in_delta_rs(MONTHLY.format("t"), DeltaTable(copy.as_uri())) == want


def test_files_of_earlier_versions_go_when_their_time_is_over(filled: Database, lake: Path) -> None:
    table = lake / "delta" / "invoice_by_business"
    before = set(table.rglob("part-*.parquet"))
    run_batch(environment(filled), lake.as_uri(), AS_OF, MONTHS, write=BUCKETS)
    facts = publish(lake)["invoice_by_business"]
    assert (facts["version"], facts["files"], facts["files_removed"]) == (1, 3 * 4, len(before))
    total = "select sum(total_amount_issued) from t where business_bucket >= 0"
    assert in_duckdb(total, t=table) == [(sum(row[2] for row in monthly(filled)),)]
    # The partitioning was another one then; time travel shows it as it was.
    old = DeltaTable(table.as_uri(), version=0)
    assert len(old.file_uris()) == len(before)
    assert in_delta_rs("select count(*) from t where business_id is null", old) == [(3,)]

    assert publish(lake)["invoice_by_business"]["files_deleted"] == 0
    time.sleep(0.01)
    assert publish(lake, "--keep-days", 0)["invoice_by_business"]["files_deleted"] == len(before)
    assert not any(path.exists() for path in before)
    assert in_duckdb(total, t=table) == [(sum(row[2] for row in monthly(filled)),)]


def test_publishers_on_a_bucket_take_turns(filled: Database, bucket: Bucket) -> None:
    run_batch(environment(filled), bucket.url, AS_OF, MONTHS, env=bucket.env)
    tasks = [start("query_lake", "publish", "--lake", bucket.url, env=bucket.env) for _ in range(3)]
    done = [task.finish() for task in tasks]
    assert [one.exit_code for one in done] == [0, 0, 0], [one.stderr for one in done]
    new = [one.result["tables"]["invoices"]["is_new"] for one in done]
    assert sorted(new) == [False, False, True]
    logs = [key for key in bucket.keys("delta/") if "_delta_log" in key]
    assert sorted(logs) == sorted(f"delta/{name}/_delta_log/{0:020}.json" for name in TABLES)
    options = bucket.env | {"AWS_EC2_METADATA_DISABLED": "true"}
    table = DeltaTable(f"{bucket.url}/delta/invoices", storage_options=options)
    assert in_delta_rs(MONTHLY.format("t"), table) == monthly(filled)


def test_a_lake_that_is_no_whole_is_not_published(filled: Database, lake: Path) -> None:
    """An object without its record is what a killed run leaves; a foreign commit is somebody else's."""
    table = lake / "delta" / "invoices"
    before = in_duckdb(MONTHLY.format("t"), t=table)
    january = lake / "invoices" / "issue_date_yearmonth=2026-01-01" / "part-0.parquet"
    january.rename(lake / "old.parquet")
    shutil.copy(lake / "old.parquet", january)
    run_batch(environment(filled), (lake.parent / "other").as_uri(), AS_OF, 1)
    # The record still names the object that is gone; publication needs its file no more.
    assert not publish(lake)["invoices"]["is_new"]
    shutil.rmtree(lake / "delta")
    done = run("query_lake", "publish", "--lake", lake.as_uri(), check=False)
    assert done.exit_code == 75
    assert "not what their commit records say" in done.stderr
    assert not (lake / "delta" / "invoices" / "_delta_log").exists()
    run(
        "query_source", "--lake", lake.as_uri(), "--as-of", AS_OF, "--months", MONTHS, env=environment(filled)
    )
    publish(lake)
    assert in_duckdb(MONTHLY.format("t"), t=table) == before

    (table / "_delta_log" / f"{1:020}.json").write_text('{"txn":{"appId":"other","version":1}}\n')
    done = run("query_lake", "publish", "--lake", lake.as_uri(), check=False)
    assert done.exit_code == 65
    assert "not what this program writes" in done.stderr


def test_amounts_keep_every_digit(lake: Path) -> None:
    [(total,)] = in_duckdb("select max(amount_usd) from t", t=lake / "delta" / "invoices")
    assert isinstance(total, Decimal)
