"""Which rows are invoices and what their amounts are: --where, --amount-unit, money and floats."""

import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest

from support.oracle import invoices_in
from support.services import Database
from support.tasks import Result, run

WINDOW = ("--as-of", "2026-01-31", "--months", "2")
TASKS = ("query_source", "aggregate_by_business", "write_partitioned_parquet")
LIVE = "status <> 'draft' and \"Deleted At\" is null -- as agreed"
ROWS = """
    (1, '2026-01-05', 1, 2, 1999, 'sent', null), (2, '2026-01-06', 2, 1, -5, 'paid', null),
    (3, '2026-01-07', 1, 2, 400, 'draft', null), (4, '2025-12-06', 2, 1, 3000, 'sent', '2025-12-31'),
    (5, '2025-12-07', 2, 1, 100, 'sent', null), (6, '0001-01-01 BC', 2, 1, 100, 'draft', null)
"""
DOLLARS = [(1, Decimal("19.99")), (2, Decimal("-0.05")), (5, Decimal("1.00"))]


def env(database: Database) -> dict[str, str]:
    return {"SOURCE_URL": database.url("invoice_reader"), **database.env("invoice_reader")}


def table(database: Database, amount: str = "bigint", rows: str = ROWS, options: str = "") -> None:
    database.sql(f"""
        create table docs (invoice_id bigint, issue_date timestamp, issuer_id bigint, receiver_id bigint,
            amount_usd {amount}, status text, "Deleted At" date) {options};
        {"create table d0 partition of docs for values from ('2026-01-01') to (maxvalue);" if options else ""}
        {"create table d1 partition of docs default;" if options else ""}
        insert into docs values {rows};
        grant select on all tables in schema public to invoice_reader;
    """)


def task(name: str, lake: Path, source: dict[str, str], *flags: object, exit_code: int = 0) -> Result:
    wanted = WINDOW if name != "inspect_lake" or "verify" in flags else ()
    command = flags[:1] if name == "inspect_lake" else ()
    done = run(
        name, *command, "--lake", lake.as_uri(), *wanted, *flags[len(command) :], env=source, check=False
    )
    assert done.exit_code == exit_code, done.stderr
    return done


def batch(lake: Path, source: dict[str, str], *flags: object) -> Result:
    """Run the three tasks, let `verify --deep` agree, and return what the first said."""
    first = task(TASKS[0], lake, source, *flags)
    for name in TASKS[1:]:
        task(name, lake, source)
    task("inspect_lake", lake, source, "verify", "--deep", *flags)
    return first


def amounts(lake: Path) -> list[tuple[int, Decimal]]:
    return sorted((row[0], row[4]) for row in invoices_in(lake))


@pytest.mark.parametrize("options", ["", "partition by range (issue_date)"])
def test_rows_that_meet_the_condition_are_the_invoices(
    database: Database, tmp_path: Path, options: str
) -> None:
    table(database, options=options)
    flags = ("--table", "docs", "--where", LIVE, "--amount-unit", "cents")
    result = batch(tmp_path, env(database), *flags).result
    assert (result["rows"], result["amount_usd"]) == (3, "20.94")
    assert amounts(tmp_path) == DOLLARS
    unchanged = task("query_source", tmp_path, env(database), *flags).result
    assert unchanged["months_unchanged"] == 2
    # A row that comes to meet it makes its month new, and one that is none of it does not.
    database.sql(
        "update docs set status = 'sent' where invoice_id = 3; delete from docs where invoice_id = 4"
    )
    changed = task("query_source", tmp_path, env(database), *flags).result
    assert (changed["months_written"], changed["months_unchanged"]) == (1, 1)
    assert amounts(tmp_path) == sorted([*DOLLARS, (3, Decimal("4.00"))])


def test_another_selection_makes_months_new_and_verify_sees_the_difference(
    database: Database, tmp_path: Path
) -> None:
    table(database)
    database.sql("delete from docs where invoice_id = 6")
    all_rows = ("--table", "docs")
    batch(tmp_path, env(database), *all_rows)
    assert len(amounts(tmp_path)) == 5
    flags = (*all_rows, "--where", LIVE)
    task("inspect_lake", tmp_path, env(database), "verify", *flags, exit_code=65)
    assert task("query_source", tmp_path, env(database), *flags).result["months_written"] == 2
    assert [row[0] for row in amounts(tmp_path)] == [1, 2, 5]
    # The same rows by other words: the record says which words made it.
    same = task("query_source", tmp_path, env(database), *all_rows, "--where", "invoice_id in (1, 2, 5)")
    assert same.result["months_written"] == 2


@pytest.mark.parametrize(
    ("condition", "sentence"),
    [
        ("issue_date < now()", "uses now"),
        ("invoice_id in (select 1)", "has a query in it"),
        ("true) or (true", "follows it"),
        ("status = 'a'; drop table docs", "follows it"),
        ("", "is not SQL"),
    ],
)
def test_what_is_no_condition_on_the_row_is_refused(
    database: Database, tmp_path: Path, condition: str, sentence: str
) -> None:
    table(database)
    source = env(database)
    refused = task("query_source", tmp_path, source, "--table", "docs", "--where", condition, exit_code=2)
    assert sentence in refused.result["error"]


def test_a_condition_on_a_column_that_is_not_there_is_one_sentence(
    database: Database, tmp_path: Path
) -> None:
    table(database)
    flags = ("--table", "docs", "--where", "state = 1")
    refused = task("query_source", tmp_path, env(database), *flags, exit_code=78).result["error"]
    assert '"state" does not exist' in refused


def test_money_is_read_exactly(database: Database, tmp_path: Path) -> None:
    rows = (
        "(1, '2026-01-05', 1, 2, '90071992547409.93', 'x', null), (2, '2026-01-05', 1, 2, '-0.01', 'x', null)"
    )
    table(database, "money", rows)
    batch(tmp_path, env(database), "--table", "docs")
    assert amounts(tmp_path) == [(1, Decimal("90071992547409.93")), (2, Decimal("-0.01"))]


@pytest.mark.parametrize("kind", ["real", "double precision"])
def test_floats_are_refused_or_rounded_when_that_is_accepted(
    database: Database, tmp_path: Path, kind: str
) -> None:
    rows = "(1, '2026-01-05', 1, 2, 0.125, 'x', null), (2, '2026-01-05', 1, 2, -10.1, 'x', null)"
    table(database, kind, rows)
    refused = task("query_source", tmp_path, env(database), "--table", "docs", exit_code=78).result["error"]
    assert f"type {kind}" in refused
    assert "--round-floats 2" in refused
    batch(tmp_path, env(database), "--table", "docs", "--round-floats", "2")
    assert amounts(tmp_path) == [(1, Decimal("0.13")), (2, Decimal("-10.10"))]
    record = next((tmp_path / "_commits" / "invoices").glob("*2026-01-01*.json")).read_text()
    assert "round_floats=2" in record
    database.sql("insert into docs values (3, '2026-01-05', 1, 2, 'NaN', 'x', null)")
    refused = task(
        "query_source", tmp_path, env(database), "--table", "docs", "--round-floats", "2", exit_code=65
    )
    assert "invoice 3 has NaN" in refused.result["error"]


@pytest.mark.parametrize("kind", ["numeric(12,0)", "numeric", "integer"])
def test_cents_of_every_whole_type_are_dollars_exactly(database: Database, tmp_path: Path, kind: str) -> None:
    table(database, kind)
    batch(tmp_path, env(database), "--table", "docs", "--where", LIVE, "--amount-unit", "cents")
    assert amounts(tmp_path) == DOLLARS


def test_what_is_not_whole_is_no_number_of_cents(database: Database, tmp_path: Path) -> None:
    table(database, "numeric(12,2)")
    flags = ("--table", "docs", "--amount-unit", "cents")
    declared = task("query_source", tmp_path, env(database), *flags, exit_code=78).result["error"]
    assert "does not count cents" in declared
    database.sql("alter table docs alter amount_usd type numeric; update docs set amount_usd = 0.5")
    odd = task("query_source", tmp_path, env(database), *flags, "--where", LIVE, exit_code=65)
    assert "invoice 1" in odd.result["error"]


def test_sqlite_has_conditions_and_cents_too(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "docs.db") as db:
        db.execute(
            "create table docs (invoice_id integer, issue_date text, issuer_id integer, receiver_id integer,"
            ' amount_usd integer, status text, "Deleted At" text)'
        )
        db.execute(f"insert into docs values {ROWS}")
    source = {"SOURCE_URL": f"sqlite:{tmp_path}/docs.db"}
    flags = ("--table", "docs", "--where", LIVE, "--amount-unit", "cents")
    lake = tmp_path / "lake"
    batch(lake, source, *flags)
    assert amounts(lake) == DOLLARS
    assert task("inspect_lake", lake, source, "doctor", *flags).result["fail"] == 0
    with sqlite3.connect(tmp_path / "docs.db") as db:
        db.execute("update docs set amount_usd = '1.5' where invoice_id = 1")
    refused = task("query_source", lake, source, *flags, exit_code=65).result["error"]
    assert "invoice 1: amount_usd" in refused
    floats = task("query_source", lake, source, "--round-floats", "2", exit_code=2).result["error"]
    assert "--round-floats is for Postgres" in floats
