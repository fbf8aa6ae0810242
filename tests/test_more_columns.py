"""Columns beside the five: from the source into the lake's invoices, part of every proof."""

import json
import sqlite3
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from deltalake import DeltaTable

from support.oracle import run_batch
from support.services import Database
from support.tasks import Result, run

READER = "invoice_reader"
AS_OF, MONTHS = "2026-01-31", 2
WINDOW = ("--as-of", AS_OF, "--months", MONTHS)
TABLE = """
    create type doc_state as enum ('draft', 'sent', 'paid');
    create table docs (
        invoice_id bigint primary key, issue_date timestamp not null, issuer_id bigint, receiver_id bigint,
        amount_usd numeric(12, 2) not null,
        "Status" doc_state, due_on date, paid boolean, fee numeric(10, 3), discount double precision,
        rate real, lines int, note text, code char(6), sent_at timestamp, seen_at timestamptz, ref uuid,
        tags text[], extra jsonb, cost money, anything numeric, raw bytea);
    grant select on docs to invoice_reader;
"""
NAMES = (
    "status=Status,due_on,paid,fee,discount,rate,lines,note,code,sent_at,seen_at,ref,tags,extra,cost,anything"
    ",raw"
)
TYPES = {
    "status": "VARCHAR", "due_on": "DATE", "paid": "BOOLEAN", "fee": "DECIMAL(10,3)", "discount": "DOUBLE",
    "rate": "DOUBLE", "lines": "BIGINT", "note": "VARCHAR", "code": "VARCHAR", "sent_at": "TIMESTAMP",
    "seen_at": "TIMESTAMP", "ref": "VARCHAR", "tags": "VARCHAR", "extra": "VARCHAR", "cost": "DECIMAL(19,2)",
    "anything": "VARCHAR", "raw": "VARCHAR",
}  # fmt: skip
UUID = "00000000-0000-4000-8000-00000000000a"
ROWS = [
    (1, "2025-12-05", "sent", "2026-01-05", True, "12.500", 0.1, 0.5, -7, "ñ'\t\n\\=,;", "ab",
     "2025-12-05 10:00:00.123456", "2025-12-05 10:00:00+02", UUID, ["a", "b,c"], '{"k": 1}', "19.99", "1e-20",
     b"\x00\xff"),
    (2, "2026-01-05", *[None] * 17),
    (3, "2026-01-06", "paid", "0001-01-01", False, "-0.001", float("inf"), 1e30, 2**31 - 1, "", "",
     "0001-01-01", "9999-12-31 23:59:59.999999+00", UUID, [], "null", "-0.01", "NaN", b""),
]  # fmt: skip


def made(database: Database) -> dict[str, str]:
    """Make the table with its rows; return the environment of the tasks."""
    database.sql(TABLE)
    with database.connect() as connection:
        connection.cursor().executemany(
            f"""insert into docs values (%s, %s, 1, 2, 10, {", ".join(["%s"] * 17)})""", ROWS
        )
    return {
        "SOURCE_URL": database.url(READER),
        **database.env(READER),
        "SOURCE_TABLE": "docs",
        "SOURCE_COLUMNS": NAMES,
    }


def query(env: dict[str, str], lake: Path, *flags: object, exit_code: int = 0) -> Result:
    done = run("query_source", "--lake", lake.as_uri(), *WINDOW, *flags, env=env, check=False)
    assert done.exit_code == exit_code, done.stderr
    return done


def verify(env: dict[str, str], lake: Path, exit_code: int = 0) -> str:
    for task in ("aggregate_by_business", "write_partitioned_parquet"):
        run(task, "--lake", lake.as_uri(), *WINDOW)
    done = run("inspect_lake", "verify", "--lake", lake.as_uri(), *WINDOW, env=env, check=False)
    assert done.exit_code == exit_code, done.stderr
    return done.stdout + done.stderr


def columns(lake: Path) -> duckdb.DuckDBPyRelation:
    files = f"{lake}/invoices/**/*.parquet"
    return duckdb.sql(
        f"select {', '.join(TYPES)} from read_parquet('{files}', union_by_name = true) order by invoice_id"
    )


def test_values_of_every_type_are_what_the_source_has(database: Database, tmp_path: Path) -> None:
    env = made(database)
    run_batch(env, tmp_path.as_uri(), AS_OF, MONTHS)
    verify(env, tmp_path)
    found = columns(tmp_path)
    assert dict(zip(found.columns, map(str, found.types), strict=True)) == TYPES
    first, empty, last = found.fetchall()
    assert empty == (None,) * len(TYPES)
    assert first == (
        "sent", date(2026, 1, 5), True, Decimal("12.500"), 0.1, 0.5, -7, "ñ'\t\n\\=,;", "ab    ",
        datetime(2025, 12, 5, 10, 0, 0, 123456), datetime(2025, 12, 5, 8), UUID, '["a","b,c"]', '{"k": 1}',
        Decimal("19.99"), "0.00000000000000000001", "00ff",
    )  # fmt: skip
    assert last == (
        "paid", date(1, 1, 1), False, Decimal("-0.001"), float("inf"), 1.0000000150474662e30, 2**31 - 1, "",
        " " * 6, datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999), UUID, "[]", "null",
        Decimal("-0.01"), "NaN", "",
    )  # fmt: skip
    question = (
        "select status, count(*) n, sum(fee) f from invoices where paid is not null group by 1 order by 1"
    )
    asked = run("query_lake", "--lake", tmp_path.as_uri(), "--format", "csv", question, check=False)
    assert asked.stdout.splitlines() == ["status,n,f", "paid,1,-0.001", "sent,1,12.500"], asked.stderr
    run("query_lake", "publish", "--lake", tmp_path.as_uri())
    table = DeltaTable(str(tmp_path / "delta" / "invoices")).to_pyarrow_table()
    assert sorted(table["lines"].to_pylist(), key=str) == [-7, 2**31 - 1, None]
    assert run("query_lake", "lint", "--lake", tmp_path.as_uri()).result["errors"] == 0


def test_a_change_of_a_further_column_makes_its_month_new(database: Database, tmp_path: Path) -> None:
    env = made(database)
    assert query(env, tmp_path).result["months_written"] == 2
    assert query(env, tmp_path).result["months_written"] == 0
    for change in (
        "\"Status\" = 'draft'", "due_on = '2026-01-06'", "paid = true", "fee = 0", "discount = 0.1",
        "rate = 2", "lines = 0", "note = 'x'", "code = 'x'", "sent_at = '2026-01-06'", "seen_at = now()",
        "tags = '{a}'", "ref = null", "extra = '1'", "cost = 7", "anything = 1", "raw = 'x'",
    ):  # fmt: skip
        database.sql(f"update docs set {change} where invoice_id = 3")
        assert query(env, tmp_path).result["months_written"] == 1, change
    database.sql("update docs set note = null where invoice_id = 3")
    assert query(env, tmp_path).result["months_written"] == 1
    database.sql("update docs set note = '' where invoice_id = 3")
    assert query(env, tmp_path).result["months_written"] == 1, "the empty text is not NULL"
    verify(env, tmp_path)


def test_columns_that_come_and_go(database: Database, tmp_path: Path) -> None:
    env = made(database)
    query(env | {"SOURCE_COLUMNS": "note"}, tmp_path)
    told = verify(env | {"SOURCE_COLUMNS": ""}, tmp_path, 65)
    assert "further columns note:text where --column says none" in told
    run_batch(env | {"SOURCE_COLUMNS": "note,lines"}, tmp_path.as_uri(), AS_OF, 1)
    refused = run("query_lake", "ddl", "--lake", tmp_path.as_uri(), "--engine", "hive", check=False)
    assert "`lines` BIGINT" in refused.stdout or "lines BIGINT" in refused.stdout, refused.stderr
    question = "select invoice_id, note, lines from invoices order by 1"
    asked = run("query_lake", "--lake", tmp_path.as_uri(), "--format", "jsonl", question, check=False)
    rows = [json.loads(line) for line in asked.stdout.splitlines()]
    assert [row["lines"] for row in rows] == [None, None, 2**31 - 1], asked.stderr
    assert query(env | {"SOURCE_COLUMNS": "note,lines"}, tmp_path).result["months_written"] == 1
    assert query(env | {"SOURCE_COLUMNS": "note,lines"}, tmp_path).result["months_written"] == 0
    database.sql("alter table docs alter lines type text using lines::text")
    assert query(env | {"SOURCE_COLUMNS": "note,lines"}, tmp_path).result["months_written"] == 2
    database.sql("alter table docs drop column lines")
    told = query(env | {"SOURCE_COLUMNS": "note,lines"}, tmp_path, exit_code=78).result["error"]
    assert 'has no column "lines"' in told
    database.sql("alter table docs rename column note to remark")
    assert query(env | {"SOURCE_COLUMNS": "note=remark"}, tmp_path).result["months_written"] == 2
    verify(env | {"SOURCE_COLUMNS": "note=remark"}, tmp_path)
    assert query(env | {"SOURCE_COLUMNS": ""}, tmp_path).result["months_written"] == 2


def test_texts_much_longer_than_their_rows(database: Database, tmp_path: Path) -> None:
    env = made(database)
    database.sql("""
        insert into docs (invoice_id, issue_date, amount_usd, note)
        select n, timestamp '2025-12-01' + n * interval '1 hour', 1,
               (select string_agg(md5((n * 1000 + m)::text), '') from generate_series(1, 1 + n * n % 3000) m)
        from generate_series(100, 1100) n
    """)
    query(env, tmp_path)
    verify(env, tmp_path)
    files = f"{tmp_path}/invoices/**/*.parquet"
    found = duckdb.sql(f"select sum(length(note))::bigint from '{files}'").fetchall()
    assert found == database.sql("select sum(length(note)) from docs")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("due_on = 'infinity'", "invoice 1: column due_on holds infinity"),
        ("sent_at = '-infinity'", "invoice 1: column sent_at holds infinity"),
        ("fee = 'NaN'", "invoice 1: column fee holds NaN"),
    ],
)
def test_what_no_column_of_the_lake_can_hold_is_refused(
    database: Database, tmp_path: Path, change: str, words: str
) -> None:
    env = made(database)
    database.sql(f"update docs set {change} where invoice_id = 1")
    assert words in query(env, tmp_path, exit_code=65).result["error"]
    assert not list(tmp_path.glob("invoices/**/*.parquet"))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("Status", "is not a column; use a name of lower-case letters"),
        ("invoice_id", "have a column invoice_id already"),
        ("note,note", "--column names note twice"),
    ],
)
def test_names_that_no_column_may_have(tmp_path: Path, names: str, words: str) -> None:
    flags = ("--source", f"sqlite:{tmp_path}/x.db", "--column", names)
    columns = (
        "invoice_id integer, issue_date text, issuer_id int, receiver_id int, amount_usd text, note text"
    )
    sqlite3.connect(tmp_path / "x.db").execute(f"create table docs ({columns})").connection.close()
    assert words in query({}, tmp_path, *flags, "--table", "docs", exit_code=2).stderr


def test_columns_of_sqlite_are_what_they_declare(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    connection.execute("""create table docs (invoice_id integer primary key, issue_date text, issuer_id int,
        receiver_id int, amount_usd text, lines integer, rate real, note text, any_value)""")
    rows = [
        (1, "2026-01-05", 1, 2, "5", -3, 0.1, "ñ'\t", 1.5),
        (2, "2026-01-06", 1, 2, "5", None, None, None, None),
        (3, "2025-12-06", 1, 2, "5", 2**63 - 1, -1.1e15 / 3, "", "x"),
    ]
    connection.executemany("insert into docs values (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    env = {
        "SOURCE_URL": f"sqlite:{tmp_path}/x.db", "SOURCE_TABLE": "docs",
        "SOURCE_COLUMNS": "lines,rate,note,of_any_kind=any_value",
    }  # fmt: skip
    lake = tmp_path / "lake"
    query(env, lake)
    verify(env, lake)
    files = f"{lake}/invoices/**/*.parquet"
    found = duckdb.sql(f"select lines, rate, note, of_any_kind from '{files}' order by invoice_id").fetchall()
    assert found == [(-3, 0.1, "ñ'\t", "1.5"), (None, None, None, None), (2**63 - 1, -1.1e15 / 3, "", "x")]
    for column, value in (
        ("lines", "x"),
        ("lines", 1.5),
        ("rate", "x"),
        ("rate", 1e300),
        ("rate", float("inf")),
        ("note", b"x"),
        ("any_value", b"x"),
    ):
        connection.execute(f"update docs set {column} = ? where invoice_id = 2", [value])
        name = "of_any_kind" if column == "any_value" else column
        assert f"invoice 2: column {name} holds" in query(env, lake, exit_code=65).result["error"]
        connection.execute(f"update docs set {column} = null where invoice_id = 2")
    connection.close()
