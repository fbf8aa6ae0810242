"""populate_tables: all of it or nothing, reproducible, from files and seeds."""

import signal
import time
from pathlib import Path

import pytest

from support.services import Database
from support.tasks import Result, run, start

MOCK = ("--customers", 50, "--invoices", 20_000, "--seed", 3, "--until", "2026-01-31", "--months", 12)
CONTENT = """
    select (select count(*) from customers), count(*), sum(amount_usd)::text,
        coalesce(sum(hashtextextended(i::text, 0)), 0)::text
    from invoices i
"""
EMPTY = (0, 0, None, "0")


def populate(database: Database, *args: object, **options: object) -> Result:
    env = {"SOURCE_URL": database.url(), **database.env()}
    return run("populate_tables", *args, env=env, **options)


def content(database: Database) -> tuple:
    """Counts, exact sum, and a hash over every row whatever its place."""
    return database.sql(CONTENT)[0]


@pytest.fixture
def expected(postgres: object) -> tuple:
    """What an undisturbed run loads into empty tables."""
    database = postgres.create_database()
    populate(database, *MOCK)
    found = content(database)
    database.drop()
    return found


@pytest.mark.faults
@pytest.mark.parametrize("point", ["after_customers", "before_commit", "after_commit"])
def test_a_crash_leaves_all_or_nothing(database: Database, expected: tuple, point: str) -> None:
    crashed = populate(database, *MOCK, check=False, failpoints=f"populate::{point}=return")
    assert crashed.exit_code == -signal.SIGABRT, crashed.stderr
    assert content(database) == (expected if point == "after_commit" else EMPTY)
    if point != "after_commit":
        populate(database, *MOCK)
        assert content(database) == expected


@pytest.mark.faults
def test_a_kill_in_the_middle_of_the_copy_leaves_nothing(database: Database, expected: tuple) -> None:
    env = {"SOURCE_URL": database.url(), **database.env()}
    many = [1_000_000 if value == 20_000 else value for value in MOCK]
    task = start("populate_tables", *many, env=env)
    copying = (
        "select count(*) from pg_stat_activity where query like 'copy public.invoices %' and state = 'active'"
    )
    while not database.sql(copying)[0][0]:
        assert task.poll() is None
        time.sleep(0.01)
    task.kill_now()
    assert content(database) == EMPTY
    populate(database, *MOCK)
    assert content(database) == expected


def test_the_same_seed_makes_the_same_rows_and_another_one_others(
    database: Database, expected: tuple
) -> None:
    populate(database, *[4 if value == 3 else value for value in MOCK])
    other = content(database)
    assert other[:2] == expected[:2]
    assert other != expected
    database.sql("truncate invoices, customers")
    populate(database, *MOCK)
    assert content(database) == expected


def test_a_second_run_adds_invoices_after_the_highest_id(database: Database, expected: tuple) -> None:
    populate(database, *MOCK)
    more = populate(database, "--customers", 60, "--invoices", 500, "--until", "2026-02-28", "--months", 1)
    assert (more.result["customers"], more.result["invoices"]) == (10, 500)
    assert more.result["first_invoice_id"] == 20_001
    added = database.sql(
        "select count(*), min(issue_date) >= '2026-02-01', max(issue_date) < '2026-03-01'"
        " from invoices where invoice_id > 20000"
    )
    assert added == [(500, True, True)]
    # The foreign keys that were out of the way while loading are in place and checked.
    keys = "select count(*) from pg_constraint where conrelid = 'invoices'::regclass and contype = 'f'"
    assert database.sql(f"{keys} and convalidated") == [(2,)]


def test_a_bad_line_is_named_and_nothing_is_loaded(database: Database, tmp_path: Path) -> None:
    customers, invoices = tmp_path / "customers.csv", tmp_path / "invoices.csv"
    customers.write_text("customer_id,customer_name\n1,A\n2,B\n")
    invoices.write_text(
        "invoice_id,issue_date,issuer_id,receiver_id,amount_usd\n"
        "1,2026-01-05 10:00:00,1,2,999.90\n"
        "2,2026-01-06 10:00:00,1,2,10.001\n"
    )
    files = ("--customers-csv", customers, "--invoices-csv", invoices)
    done = populate(database, *files, check=False)
    assert done.exit_code == 65
    assert "line 3: amount_usd" in done.stderr
    assert content(database) == EMPTY
    invoices.write_text(invoices.read_text().replace("10.001", "-10.01"))
    assert populate(database, *files).result["amount_usd"] == "989.89"
