"""The definitions that `query_lake ddl` prints make other engines answer as Postgres does."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest

from support.oracle import run_batch
from support.questions import QUESTIONS, expected, statements, texts
from support.services import Bucket, Database, Postgres
from support.tasks import Result, run

AS_OF, MONTHS = "2026-01-31", 3
BUCKETS = ["--partition-by", "month,bucket(business_id,4)"]

# Runs statements and questions in Spark with a Hive metastore of its own, and prints the answers.
SPARK = """
import json, sys
from pyspark.sql import SparkSession
work, schema, asked = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
spark = (SparkSession.builder.master("local[1]").enableHiveSupport()
    .config("spark.ui.enabled", "false").config("spark.sql.session.timeZone", "UTC")
    .config("spark.sql.shuffle.partitions", "1")
    .config("spark.sql.warehouse.dir", f"{work}/warehouse")
    .config("spark.hadoop.javax.jdo.option.ConnectionURL",
        f"jdbc:derby:;databaseName={work}/metastore;create=true").getOrCreate())
spark.sparkContext.setLogLevel("ERROR")
answers = {}
for engine, statements in json.loads(schema).items():
    spark.sql(f"create database {engine}")
    spark.sql(f"use {engine}")
    for statement in statements:
        spark.sql(statement)
    answers[engine] = [[[str(value) for value in row] for row in spark.sql(text).collect()] for text in asked]
print("ANSWERS " + json.dumps(answers))
"""


@pytest.fixture(scope="module")
def filled(postgres: Postgres) -> Iterator[Database]:
    """Three months of invoices between 20 customers, some without a receiver."""
    database = postgres.create_database()
    source = {"SOURCE_URL": database.url(), **database.env()}
    run("populate_tables", "--customers", 20, "--invoices", 3000, "--until", AS_OF, env=source)
    database.sql("update invoices set receiver_id = null where invoice_id % 50 = 0")
    yield database
    database.drop()


@pytest.fixture(scope="module")
def lake(filled: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lake of these months, an object per month and business."""
    folder = tmp_path_factory.mktemp("lake")
    run_batch({"SOURCE_URL": filled.url(), **filled.env()}, folder.as_uri(), AS_OF, MONTHS)
    return folder


def ddl(lake: str, engine: str, *flags: object, env: dict | None = None, check: bool = True) -> Result:
    """Print an engine's definitions."""
    done = run("query_lake", "ddl", "--engine", engine, "--lake", lake, *flags, env=env, check=False)
    assert done.exit_code == 0 or not check, done.stderr
    return done


def test_duckdb_and_pyarrow_answer_as_postgres(filled: Database, lake: Path) -> None:
    with duckdb.connect() as connection:
        for statement in statements(ddl(lake.as_uri(), "duckdb").stdout):
            connection.sql(statement)
        found = [texts(connection.sql(question).fetchall()) for question in QUESTIONS]
    assert found == expected(filled)

    keys = pa.schema([("issue_date_yearmonth", pa.date32()), ("business_id", pa.int64())])
    by_business = ds.dataset(f"{lake}/invoice_by_business", partitioning=ds.partitioning(keys, flavor="hive"))
    table = by_business.to_table(
        filter=pc.field("issue_date_yearmonth") == pa.scalar("2026-01-01").cast(pa.date32())
    )
    sums = table.group_by("business_id").aggregate(
        [("total_amount_issued", "sum"), ("received_count", "sum")]
    )
    ordered = sums.sort_by([("business_id", "ascending")])
    columns = ("business_id", "total_amount_issued_sum", "received_count_sum")
    found = list(zip(*(ordered[name].to_pylist() for name in columns), strict=True))
    assert texts(found) == expected(filled)[1]


def test_spark_with_a_hive_metastore_answers_as_postgres(
    filled: Database, lake: Path, tmp_path: Path
) -> None:
    schema = {engine: statements(ddl(lake.as_uri(), engine).stdout) for engine in ("spark", "hive")}
    asked = [question.replace(" nulls last", "") for question in QUESTIONS]
    asked[1] = QUESTIONS[1]
    command = [sys.executable, "-c", SPARK, str(tmp_path), json.dumps(schema), json.dumps(asked)]
    env = os.environ | {"SPARK_LOCAL_IP": "127.0.0.1"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=240)
    printed = [line for line in done.stdout.splitlines() if line.startswith("ANSWERS ")]
    assert printed, done.stderr[-3000:]
    answers = json.loads(printed[0].removeprefix("ANSWERS "))
    want = expected(filled)
    for engine in ("spark", "hive"):
        found = [[[plain(value) for value in row] for row in answer] for answer in answers[engine]]
        assert found == want, engine


def plain(text: str) -> str:
    """Write a decimal of Spark as `texts` does."""
    return text.removesuffix(".00")


def test_buckets_and_months_are_projected_and_listed(filled: Database, bucket: Bucket) -> None:
    source = {"SOURCE_URL": filled.url(), **filled.env()}
    run_batch(source, bucket.url, AS_OF, MONTHS, env=bucket.env, write=BUCKETS)
    athena = ddl(bucket.url, "athena", "--database", "finance", env=bucket.env).stdout
    assert "'projection.business_bucket.range'='0,3'" in athena
    assert "'projection.issue_date_yearmonth.range'='2025-11-01,NOW'" in athena
    spectrum = ddl(bucket.url, "spectrum", env=bucket.env).stdout
    objects = bucket.keys()
    folders = {key.rsplit("/", 1)[0] for key in objects if key.endswith(".parquet")}
    tables = ("invoices/", "invoice_by_business/", "business_last_n_months/")
    visible = [folder for folder in folders if folder.startswith(tables)]
    assert len(visible) == 3 + 3 * 4 + 1
    for folder in visible:
        assert f"LOCATION '{bucket.url}/{folder}/'" in spectrum
    assert spectrum.count("PARTITION(") == len(visible)
    for engine in ("trino", "bigquery"):
        assert f"{bucket.url}/invoices" in ddl(bucket.url, engine, env=bucket.env).stdout


def test_definitions_need_a_lake_that_the_engine_can_read(lake: Path, tmp_path: Path) -> None:
    for engine in ("athena", "spectrum", "bigquery"):
        done = ddl(lake.as_uri(), engine, check=False)
        assert (done.exit_code, done.stdout) == (78, "")
        assert "reads object stores alone" in done.stderr
    assert "run query_source first" in ddl(tmp_path.as_uri(), "spark", check=False).stderr


def test_months_that_are_cut_in_two_ways_are_told(filled: Database, tmp_path: Path) -> None:
    source = {"SOURCE_URL": filled.url(), **filled.env()}
    lake = tmp_path.as_uri()
    run_batch(source, lake, AS_OF, MONTHS)
    run_batch(source, lake, AS_OF, 1, write=BUCKETS)
    done = ddl(lake, "hive", check=False)
    assert done.exit_code == 65
    assert "partitioned in 2 different ways" in done.stderr
    # A query of this project puts them together.
    total = "select sum(total_amount_issued) as total from invoice_by_business"
    done = run("query_lake", "--lake", lake, "--format", "csv", total, check=False)
    [[want]] = filled.sql("select sum(amount_usd) from invoices where issue_date >= '2025-11-01'")
    assert Decimal(done.stdout.splitlines()[1]) == want


def test_the_linter_finds_what_spectrum_would_misread(lake: Path, tmp_path: Path) -> None:
    copy = tmp_path / "lake"
    shutil.copytree(lake, copy, copy_function=os.link)
    clean = run("query_lake", "lint", "--lake", copy.as_uri())
    assert (clean.result["errors"], clean.result["files"] > 60) == (0, True)
    assert "less than 64 MiB" in str(clean.result["findings"])

    month = copy / "invoices" / "issue_date_yearmonth=2026-01-01"
    os.link(month / "part-0.parquet", month / "part-0.parquet~")
    os.link(month / "part-0.parquet", copy / "invoices" / "_hidden.parquet")
    done = run("query_lake", "lint", "--lake", copy.as_uri(), check=False)
    assert done.exit_code == 65
    rules = {finding["rule"] for finding in done.result["findings"] if finding["level"] == "error"}
    assert rules == {"name", "recorded"}
