"""The three tasks against an oracle: the published tables equal plain SQL in Postgres."""

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pytest

from support.oracle import (
    expected_months,
    expected_window,
    invoices_in,
    published_months,
    published_window,
    run_batch,
)
from support.services import Bucket, Database
from support.tasks import run

RETAIL = Path(__file__).parents[1].parent / "shared" / "data" / "online_retail"
READER = "invoice_reader"


def source(database: Database, user: str = READER) -> dict[str, str]:
    return {"SOURCE_URL": database.url(user), **database.env(user)}


def populate(database: Database, *args: object) -> None:
    run("populate_tables", *args, env=source(database, "postgres"))


def insert(database: Database, rows: list[tuple]) -> None:
    ids = sorted({b for row in rows for b in row[2:4] if b is not None})
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "insert into customers values (%s, 'x') on conflict do nothing", [(b,) for b in ids]
        )
        cursor.executemany("insert into invoices values (%s, %s, %s, %s, %s)", rows)


def assert_published(database: Database, lake: Path, first: str, end: str, as_of: str) -> None:
    """Both published tables, row by row, column by column, and the raw invoices."""
    months = (int(end[:4]) - int(first[:4])) * 12 + int(end[5:7]) - int(first[5:7])
    assert published_months(lake) == expected_months(database, first, end)
    assert published_window(lake, as_of, months) == expected_window(database, first, end)
    window = "select * from invoices where issue_date >= %s::date and issue_date < %s::date"
    assert invoices_in(lake) == database.sql(f"{window} order by 1", first, end)


@pytest.mark.parametrize("dates", ["follow-ids", "random"])
@pytest.mark.parametrize("partition_by", ["month,business_id", "month,bucket(business_id,4)", "month"])
def test_generated_data_equals_the_oracle(
    database: Database, tmp_path: Path, dates: str, partition_by: str
) -> None:
    populate(database, "--customers", 60, "--invoices", 20_000, "--seed", 7, "--dates", dates,
             "--until", "2026-01-31", "--months", 18)  # fmt: skip
    results = run_batch(
        source(database),
        tmp_path.as_uri(),
        "2026-01-31",
        12,
        write=["--partition-by", partition_by],
    )
    assert_published(database, tmp_path, "2025-02-01", "2026-02-01", "2026-01-01")
    total = database.sql(
        "select count(*), sum(amount_usd)::text from invoices where issue_date >= '2025-02-01'"
    )
    assert (results[0].result["rows"], results[0].result["amount_usd"]) == total[0]


def test_the_lake_in_s3_equals_the_oracle(database: Database, bucket: Bucket, tmp_path: Path) -> None:
    populate(database, "--customers", 40, "--invoices", 30_000, "--until", "2026-01-31")
    run_batch(source(database), f"{bucket.url}/team/lake", "2026-01-31", 12, env=bucket.env)
    bucket.download(tmp_path)
    lake = tmp_path / "team" / "lake"
    assert_published(database, lake, "2025-02-01", "2026-02-01", "2026-01-01")


def test_real_data_equals_the_oracle(database: Database, bucket: Bucket, tmp_path: Path) -> None:
    if not RETAIL.exists():
        pytest.skip("../shared/data is not beside this checkout: the real data is NOT tested")
    populate(database, "--customers-csv", RETAIL / "customers.csv",
             "--invoices-csv", RETAIL / "invoices.csv", "--until", "2011-12-31")  # fmt: skip
    results = run_batch(source(database), bucket.url, "2011-12-31", 13, env=bucket.env)
    assert results[0].result["rows"] == 25_900
    assert results[0].result["amount_usd"] == "9747747.93"
    bucket.download(tmp_path)
    assert_published(database, tmp_path, "2010-12-01", "2012-01-01", "2011-12-01")


def edge_invoices() -> list[tuple]:
    """Months at the edges of years and February, first and last microseconds, odd parties."""
    edges = ["2023-12-31 23:59:59.999999", "2024-01-01 00:00:00.000000",
             "2024-02-29 23:59:59.999999", "2024-03-01 00:00:00", "2024-02-01 00:00:00",
             "2024-12-31 23:59:59.999999", "2023-12-01 00:00:00"]  # fmt: skip
    parties = [(1, 2), (2, 1), (3, 3), (4, None), (None, 5), (None, None), (-6, 7), (2**62, 1)]
    amounts = ["9999999999.99", "-9999999999.99", "0.00", "0.01", "-0.01", "1234.50"]
    rows = []
    for edge in edges:
        for number, (issuer, receiver) in enumerate(parties):
            amount = Decimal(amounts[(len(rows) + number) % len(amounts)])
            rows.append((len(rows) + 1, edge, issuer, receiver, amount))
    return rows


def test_edges_of_months_and_odd_parties_equal_the_oracle(database: Database, tmp_path: Path) -> None:
    insert(database, edge_invoices())
    run_batch(source(database), tmp_path.as_uri(), "2024-12-01", 14)
    assert_published(database, tmp_path, "2023-11-01", "2025-01-01", "2024-12-01")
    # April 2024 is empty: no folder, but a record that says so.
    assert not (tmp_path / "invoices" / "issue_date_yearmonth=2024-04-01").exists()
    assert (tmp_path / "_commits/invoices/issue_date_yearmonth=2024-04-01.json").exists()


def test_a_month_whose_invoices_were_deleted_vanishes_and_a_change_is_found(
    database: Database, tmp_path: Path
) -> None:
    insert(database, edge_invoices())
    run_batch(source(database), tmp_path.as_uri(), "2024-12-01", 14)
    database.sql("delete from invoices where issue_date >= '2024-02-01' and issue_date < '2024-03-01'")
    # Two amounts of one month change places: count and sum stay as they were.
    database.sql(
        """update invoices a set amount_usd = b.amount_usd from invoices b
           where (a.invoice_id, b.invoice_id) in ((1, 2), (2, 1))"""
    )
    query, *_ = run_batch(source(database), tmp_path.as_uri(), "2024-12-01", 14)
    assert query.result["months_written"] == 1
    assert query.result["months_emptied"] == 1
    assert query.result["months_unchanged"] == 12
    assert_published(database, tmp_path, "2023-11-01", "2025-01-01", "2024-12-01")
    assert not list(tmp_path.glob("*/issue_date_yearmonth=2024-02-01/**/*.parquet"))


def test_nothing_changed_means_nothing_is_written(database: Database, tmp_path: Path) -> None:
    populate(database, "--customers", 20, "--invoices", 5_000, "--until", "2026-01-31")
    run_batch(source(database), tmp_path.as_uri(), "2026-01-31", 6)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    results = run_batch(source(database), tmp_path.as_uri(), "2026-01-31", 6)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == before
    assert [r.result["months_unchanged"] for r in results] == [6, 6, 6]


def test_partitions_of_businesses_that_left_are_removed(database: Database, tmp_path: Path) -> None:
    day = "2025-05-05"
    insert(database, [(1, day, 1, 2, 10), (2, day, 3, 4, 20), (3, day, 1, 4, 5)])
    run_batch(source(database), tmp_path.as_uri(), "2025-05-31", 1)
    folder = tmp_path / "invoice_by_business" / "issue_date_yearmonth=2025-05-01"
    assert {p.name for p in folder.iterdir()} == {f"business_id={n}" for n in (1, 2, 3, 4)}
    database.sql("update invoices set issuer_id = 1, receiver_id = null where invoice_id = 2")
    run_batch(source(database), tmp_path.as_uri(), "2025-05-31", 1)
    objects = {p.parent.name for p in folder.rglob("*.parquet")}
    names = {f"business_id={n}" for n in (1, 2, 4)} | {"business_id=__HIVE_DEFAULT_PARTITION__"}
    assert objects == names
    assert_published(database, tmp_path, "2025-05-01", "2025-06-01", "2025-05-01")


def test_another_companys_table_with_other_names_and_types(database: Database, tmp_path: Path) -> None:
    """Quoted names with a quote in them, int4 ids, timestamptz, numeric without a scale."""
    database.sql("""create schema "Büro ""1" """)
    table = '"Büro ""1"."docs; drop table invoices"'
    database.sql(
        f"""create table {table} ("no" int4 primary key, "issued at" timestamptz,
            "from" int2, "to" int4, "sum $" numeric)"""
    )
    rows = [
        (1, "2025-03-31 23:30:00-02", 1, 2, "10.50"),
        (2, "2025-03-31 23:59:59.999999+00", 2, 1, "3"),
    ]
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.executemany(f"insert into {table} values (%s, %s, %s, %s, %s)", rows)
    names = ["--table", 'Büro "1.docs; drop table invoices', "--invoice-id-column", "no",
             "--issue-date-column", "issued at", "--issuer-column", "from",
             "--receiver-column", "to", "--amount-column", "sum $"]  # fmt: skip
    run_batch(source(database, "postgres"), tmp_path.as_uri(), "2025-04-30", 2, query=names)
    assert invoices_in(tmp_path) == [
        (1, dt.datetime(2025, 4, 1, 1, 30), 1, 2, Decimal("10.50")),
        (2, dt.datetime(2025, 3, 31, 23, 59, 59, 999999), 2, 1, Decimal("3.00")),
    ]
    assert database.sql("select count(*) from invoices") == [(0,)]


def test_views_and_partitioned_tables_are_read_whole(database: Database, tmp_path: Path) -> None:
    populate(database, "--customers", 30, "--invoices", 8_000, "--until", "2026-01-31")
    database.sql("create view recent as select * from invoices where invoice_id % 2 = 0")
    database.sql(
        """create table split (like invoices) partition by hash (invoice_id);
           create table split_0 partition of split for values with (modulus 2, remainder 0);
           create table split_1 partition of split for values with (modulus 2, remainder 1);
           insert into split select * from invoices; analyze split"""
    )
    database.sql("grant select on recent, split to invoice_reader")
    for table in ("recent", "split"):
        lake = tmp_path / table
        run_batch(source(database), lake.as_uri(), "2026-01-31", 12, query=["--table", table])
        window = (database, "2025-02-01", "2026-02-01", table)
        assert published_months(lake) == expected_months(*window)


def test_one_month_of_many_reads_only_that_month(database: Database, tmp_path: Path) -> None:
    populate(database, "--customers", 30, "--invoices", 50_000, "--until", "2026-01-31")
    run_batch(source(database), tmp_path.as_uri(), "2025-09-15", 1)
    assert_published(database, tmp_path, "2025-09-01", "2025-10-01", "2025-09-01")


def test_a_read_replica_serves_as_source(database: Database, tmp_path: Path) -> None:
    populate(database, "--customers", 30, "--invoices", 3_000, "--until", "2026-01-31")
    with database.server.replica() as replica:
        copy = replica.database(database.name)
        run_batch(source(copy), tmp_path.as_uri(), "2026-01-31", 3)
        assert_published(database, tmp_path, "2025-11-01", "2026-02-01", "2026-01-01")


def test_a_small_memory_budget_reads_in_several_passes(database: Database, tmp_path: Path) -> None:
    populate(database, "--customers", 30, "--invoices", 20_000, "--until", "2026-01-31",
             "--dates", "random")  # fmt: skip
    options = ["--memory-budget", "32MiB", "--connections", "3"]
    run_batch(source(database), tmp_path.as_uri(), "2026-01-31", 12, query=options)
    assert_published(database, tmp_path, "2025-02-01", "2026-02-01", "2026-01-01")


def test_dry_run_changes_nothing_and_says_what_it_would_do(database: Database, tmp_path: Path) -> None:
    insert(database, [(1, "2025-05-05", 1, 2, 10), (2, "2025-06-05", 2, 1, 20)])
    window = ["--lake", tmp_path.as_uri(), "--as-of", "2025-06-01", "--months", 2]
    done = run("query_source", *window, "--dry-run", env=source(database))
    assert [m["month"] for m in done.result["would_read"]] == ["2025-05-01", "2025-06-01"]
    assert [m["amount"] for m in done.result["would_read"]] == ["10.00", "20.00"]
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_a_sqlite_source_gives_the_same_lake(database: Database, tmp_path: Path) -> None:
    flags = ["--customers", 25, "--invoices", 4_000, "--seed", 3, "--until", "2026-01-31"]
    populate(database, *flags)
    sqlite = {"SOURCE_URL": f"sqlite:{tmp_path}/invoices.db"}
    run("populate_tables", *flags, env=sqlite)
    lake = tmp_path / "lake"
    run_batch(sqlite, lake.as_uri(), "2026-01-31", 12)
    assert_published(database, lake, "2025-02-01", "2026-02-01", "2026-01-01")
