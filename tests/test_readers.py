"""Query engines read the lake's files with the same result, Hive partition discovery on."""

from pathlib import Path

import duckdb
import pyarrow.dataset as ds
import pytest

from support.oracle import expected_months, run_batch
from support.services import Database
from support.tasks import run


@pytest.fixture
def lake(database: Database, tmp_path: Path) -> Path:
    """A lake of three months with NULL businesses, partitioned by month and business."""
    source = {"SOURCE_URL": database.url(), **database.env()}
    run("populate_tables", "--customers", 30, "--invoices", 5000, "--until", "2026-01-31", env=source)
    database.sql("update invoices set receiver_id = null where invoice_id % 50 = 0")
    run_batch(source, tmp_path.as_uri(), "2026-01-31", 3)
    return tmp_path


def totals(rows: list) -> tuple:
    """Rows, issued and received totals, businesses; month and business from the folder names."""
    return (
        len(rows),
        sum(row[2] for row in rows),
        sum(row[3] for row in rows),
        len({row[1] for row in rows}),
        len({str(row[0]) for row in rows}),
    )


def test_duckdb_pyarrow_and_spark_read_the_same(
    database: Database, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = totals(expected_months(database, "2025-11-01", "2026-02-01"))
    folder = f"{lake}/invoice_by_business"
    columns = ["issue_date_yearmonth", "business_id", "total_amount_issued", "total_amount_received"]

    by_duckdb = duckdb.sql(
        f"select {', '.join(columns)} from read_parquet('{folder}/**/*.parquet', hive_partitioning = true)"
    ).fetchall()
    assert totals(by_duckdb) == expected

    table = ds.dataset(folder, partitioning="hive").to_table(columns=columns)
    assert totals(list(zip(*(table[name].to_pylist() for name in columns), strict=True))) == expected

    from pyspark.sql import SparkSession

    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    spark = builder.config("spark.sql.session.timeZone", "UTC").getOrCreate()
    try:
        by_spark = spark.read.parquet(folder).select(*columns).collect()
        assert totals([tuple(row) for row in by_spark]) == expected
        raw = spark.read.parquet(f"{lake}/invoices")
        assert raw.count() == database.sql(
            "select count(*) from invoices where issue_date >= '2025-11-01'"
        )[0][0]  # fmt: skip
    finally:
        spark.stop()
