"""Everything a user can get wrong ends in one clear sentence and the right exit code."""

import subprocess
from pathlib import Path

import pytest

from support.process import free_port
from support.services import Bucket, Database
from support.tasks import Result, run

WINDOW = ("--as-of", "2026-01-31", "--months", "3")
CUSTOMER = "insert into customers values (1, 'one')"


def query(database: Database, tmp_path: Path, *flags: object, user: str = "postgres") -> Result:
    return run("query_source", "--source", database.url(user), "--lake", tmp_path.as_uri(), *WINDOW,
               *flags, env=database.env(user), check=False)  # fmt: skip


def assert_refused(done: Result, exit_code: int, *words: str) -> None:
    assert done.exit_code == exit_code, done.stderr
    error = done.result["error"]
    assert "\n" not in error
    for word in words:
        assert word in error, error


@pytest.mark.parametrize("refresh", ["window", "changed"])
@pytest.mark.parametrize("amount", ["NaN", "Infinity", "0.001", "1e17"])
def test_amounts_that_are_not_exact_money(
    database: Database, tmp_path: Path, amount: str, refresh: str
) -> None:
    database.sql(CUSTOMER)
    database.sql("alter table invoices alter amount_usd type numeric")
    database.sql("insert into invoices values (1, '2026-01-05', 1, 1, 5)")
    assert query(database, tmp_path).exit_code == 0
    before = sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*") if p.is_file())
    database.sql("insert into invoices values (77, '2025-12-05', 1, 1, %s::numeric)", amount)
    assert_refused(query(database, tmp_path, "--refresh", refresh), 65, "77", "amount_usd")
    assert sorted((p, p.stat().st_mtime_ns) for p in tmp_path.rglob("*") if p.is_file()) == before


@pytest.mark.parametrize("date", ["infinity", "-infinity", "294276-12-31", "10000-01-01", "0044-03-15 BC"])
def test_dates_that_no_month_holds(database: Database, tmp_path: Path, date: str) -> None:
    database.sql(CUSTOMER)
    database.sql("insert into invoices values (1, %s::timestamp, 1, 1, 5)", date)
    assert_refused(
        query(database, tmp_path), 65, "1 invoices belong to no month", "issue_date", "invoice 1 has"
    )


@pytest.mark.parametrize("column", ["invoice_id", "issue_date", "amount_usd"])
def test_missing_values(database: Database, tmp_path: Path, column: str) -> None:
    database.sql("create table loose as select * from invoices")
    row = {"invoice_id": "1", "issue_date": "'2026-01-05'", "amount_usd": "5"} | {column: "null"}
    database.sql(f"insert into loose ({', '.join(row)}) values ({', '.join(row.values())})")
    assert_refused(query(database, tmp_path, "--table", "loose"), 65, column)


def test_a_business_with_the_smallest_id_there_is_does_not_become_null(
    database: Database, tmp_path: Path
) -> None:
    """Such an id stands for NULL on the way; it must be refused, not published as nobody's invoice."""
    smallest = -(2**63)
    database.sql("insert into customers values (%s, 'x')", smallest)
    database.sql("insert into invoices values (1, '2026-01-05', %s, null, 5)", smallest)
    assert_refused(query(database, tmp_path), 65, "invoice 1: issuer_id is -9223372036854775808")
    assert not (tmp_path / "invoices").exists()


def test_table_column_privilege_and_type(database: Database, tmp_path: Path) -> None:
    assert_refused(query(database, tmp_path, "--table", "public.nothing"), 78, "public.nothing", "--table")
    assert_refused(query(database, tmp_path, "--amount-column", "price"), 78, '"price"', "column")
    database.sql("revoke select on invoices from invoice_reader")
    denied = query(database, tmp_path, user="invoice_reader")
    assert_refused(denied, 78, "permission denied", "SELECT")
    database.sql("alter table invoices alter amount_usd type float8")
    assert_refused(query(database, tmp_path), 78, "double precision", "numeric", "--round-floats")
    database.sql("alter table invoices alter invoice_id type jsonb using to_jsonb(invoice_id)")
    assert_refused(query(database, tmp_path), 78, "invoice_id", "jsonb")


def test_unreachable_host_and_missing_database(database: Database, tmp_path: Path) -> None:
    lake = ("--lake", tmp_path.as_uri(), *WINDOW)
    nobody = f"postgres://reader@127.0.0.1:{free_port()}/shop"
    assert_refused(run("query_source", "--source", nobody, *lake, check=False), 75, "cannot connect")
    missing = database.url().rsplit("/", 1)[0] + "/nothing"
    done = run("query_source", "--source", missing, *lake, env=database.env(), check=False)
    assert_refused(done, 78, "nothing", "does not exist")


@pytest.mark.parametrize("url", ["mysql://h/db", "postgres://", "sqlite:", "nonsense"])
def test_source_urls_that_are_none(tmp_path: Path, url: str) -> None:
    done = run("query_source", "--source", url, "--lake", tmp_path.as_uri(), *WINDOW, check=False)
    assert done.exit_code in (75, 78), done.stderr


def test_lakes_that_are_none(database: Database, bucket: Bucket, tmp_path: Path) -> None:
    source = {"SOURCE_URL": database.url(), **database.env()}

    def to(lake: str, env: dict) -> Result:
        return run("query_source", "--lake", lake, *WINDOW, env=source | env, check=False)

    assert_refused(to("s3://no-such-bucket-here", bucket.env), 78, "does not exist", "bucket")
    wrong = bucket.env | {"AWS_SECRET_ACCESS_KEY": "wrong"}
    assert_refused(to(bucket.url, wrong), 78, "credentials")
    assert_refused(to("ftp://somewhere", {}), 78, "s3://")
    assert_refused(to("relative/folder", {}), 78, "file:///")
    closed = bucket.env | {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
        "AWS_RETRY_SECONDS": "2",
    }
    assert_refused(to(bucket.url, closed), 75, "cannot")


def test_tasks_before_their_turn(tmp_path: Path) -> None:
    lake = ("--lake", tmp_path.as_uri(), *WINDOW)
    assert_refused(run("aggregate_by_business", *lake, check=False), 78, "query_source")
    assert_refused(run("write_partitioned_parquet", *lake, check=False), 78, "aggregate_by_business")


def test_too_many_partitions_and_partitionings_that_are_none(database: Database, tmp_path: Path) -> None:
    database.sql("insert into customers select n, 'x' from generate_series(1, 50) n")
    database.sql("insert into invoices select n, '2026-01-05', n, n, 5 from generate_series(1, 50) n")
    assert query(database, tmp_path).exit_code == 0
    lake = ("--lake", tmp_path.as_uri(), *WINDOW)
    run("aggregate_by_business", *lake)
    many = run("write_partitioned_parquet", *lake, "--max-partitions", 49, check=False)
    assert_refused(many, 65, "50", "bucket(business_id,")
    assert not (tmp_path / "invoice_by_business").exists()
    for text in (
        "business_id,month",
        "month,../../etc",
        "month,bucket(../,4)",
        "month,bucket(business_id,0)",
    ):
        done = run("write_partitioned_parquet", *lake, "--partition-by", text, check=False)
        assert done.exit_code == 2, done.stderr


def test_sqlite_floats_and_texts(tmp_path: Path) -> None:
    import sqlite3

    file = tmp_path / "shop.db"
    with sqlite3.connect(file) as connection:
        connection.execute(
            "create table invoices (invoice_id integer, issue_date text, issuer_id, receiver_id, amount_usd)"
        )
    cases = [("2026-01-05", 1.5, "floating-point"), ("2026-01-05", "1,5", "not a number"),
             ("05/01/2026", "1.5", "not an ISO date")]  # fmt: skip
    for date, amount, words in cases:
        with sqlite3.connect(file) as connection:
            connection.execute("delete from invoices")
            connection.execute("insert into invoices values (9, ?, 1, 2, ?)", (date, amount))
        done = run("query_source", "--source", f"sqlite:{file}", "--lake",
                   (tmp_path / "lake").as_uri(), *WINDOW, check=False)  # fmt: skip
        assert_refused(done, 65, "invoice 9", words)


def test_a_full_disk_publishes_nothing(database: Database, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk], capture_output=True)
    if mounted.returncode != 0:
        # Without the right to mount, the limit on file size stands in for a full disk.
        pytest.skip("a small file system can't be mounted here: the full disk is NOT tested")
    try:
        database.sql("insert into customers values (1, 'x')")
        database.sql(
            """insert into invoices select n, timestamp '2025-11-01' + n * interval '70 second',
               1, 1, (n * 7919 % 100000) / 100.0 from generate_series(1, 100000) n"""
        )
        assert_refused(query(database, disk), 75, "no space left")
        assert not list(disk.glob("invoices/**/*.parquet"))
    finally:
        subprocess.run(["umount", disk], check=True)
