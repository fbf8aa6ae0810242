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
    assert "line 3, column 27: amount_usd" in done.stderr
    assert content(database) == EMPTY
    invoices.write_text(invoices.read_text().replace("10.001", "-10.01"))
    assert populate(database, *files).result["amount_usd"] == "989.89"


HEADER = "invoice_id,issue_date,issuer_id,receiver_id,amount_usd,note"
ROWS = ("1,2026-01-05,1,2,10.00,ok", "2,2026-01-06,1,2,20.00,ok", "3,2026-01-07,1,2,40.00,ok")


def csv_files(folder: Path, content: bytes) -> tuple[object, ...]:
    customers, invoices = folder / "customers.csv", folder / "invoices.csv"
    customers.write_text("customer_id,customer_name\n1,A\n2,B\n")
    invoices.write_bytes(content)
    return "--customers-csv", customers, "--invoices-csv", invoices


def with_row(row: str) -> str:
    """The file, its second row replaced."""
    return "\n".join([HEADER, ROWS[0], row, ROWS[2], ""])


DOUBTFUL = {
    "unclosed quote": (with_row('2,2026-01-06,1,2,20.00,"12 inch'), "line 3, column 24"),
    "closed too late": (with_row('2,2026-01-06,1,2,20.00,"12 inch') + '4,2026-01-08,1,2,80,"ok"\n', "line 3"),
    "text after quotes": (with_row('2,2026-01-06,1,2,20.00,"12" inch'), "line 3, column 28"),
    "quote inside": (with_row('2,2026-01-06,1,2,20.00,12" pipe'), "line 3, column 26"),
    "backslash": (with_row('2,2026-01-06,1,2,20.00,"12\\" pipe"'), "line 3, column 27"),
    "semicolons": ("\n".join([HEADER, *ROWS]).replace(",", ";"), "--delimiter ';'"),
    "tabs": ("\n".join([HEADER, *ROWS]).replace(",", "\t"), "--delimiter tab"),
    "pipes": ("\n".join([HEADER, *ROWS]).replace(",", "|"), "--delimiter '|'"),
    "decimal comma": (with_row("2,2026-01-06,1,2,20,50,ok"), "line 3, column 24"),
    "decimal comma in quotes": (with_row('2,2026-01-06,1,2,"20,50",ok'), "line 3, column 18"),
    "thousands": (with_row("2,2026-01-06,1,2,1.000,ok"), "line 3, column 18"),
    "exponent": (with_row("2,2026-01-06,1,2,2e1,ok"), "line 3, column 18"),
    "too few fields": (with_row("2,2026-01-06,1,2"), "line 3, column 16"),
    "empty line": (with_row(""), "line 3, column 1"),
    "NUL": (with_row("2,2026-01-06,1,2,20.00,o\0k"), "line 3, column 25"),
    "mixed line ends": (with_row("2,2026-01-06,1,2,20.00,ok\r"), "line 3, column 26"),
    "line ends of old": ("\r".join([HEADER, *ROWS]), "line 1, column 60"),
    "UTF-16": ("\n".join([HEADER, *ROWS]).encode("utf-16"), "UTF-16"),
    "Latin-1": (with_row("2,2026-01-06,1,2,20.00,Müller").encode("latin-1"), "line 3, column 25"),
    "header only": (HEADER + "\n", "no rows"),
    "empty file": ("", "line 1, column 1"),
    "name twice": (HEADER.replace("note", "amount_usd") + "\n" + ROWS[0], "line 1, column 56"),
    "name missing": (HEADER.replace("amount_usd", "amount") + "\n" + ROWS[0], "no column amount_usd"),
    "month of one digit": (with_row("2,2026-1-06,1,2,20.00,ok"), "line 3, column 3"),
    "hour of twelve": (with_row("2,2026-01-06 01:00:00 PM,1,2,20.00,ok"), "line 3, column 3"),
    "offset": (with_row("2,2026-01-06T01:00:00+02:00,1,2,20.00,ok"), "line 3, column 3"),
    "year of two digits": (with_row("2,06/01/26,1,2,20.00,ok"), "line 3, column 3"),
    "leading zeros": (with_row("002,2026-01-06,1,2,20.00,ok"), "line 3, column 1"),
    "id with a point": (with_row("2,2026-01-06,1.0,2,20.00,ok"), "line 3, column 14"),
    "unknown business": (with_row("2,2026-01-06,1,9,20.00,ok"), "line 3, column 16"),
    "id twice": (with_row("1,2026-01-06,1,2,20.00,ok"), "is there twice, first in line 2"),
}


@pytest.mark.parametrize("kind", DOUBTFUL)
def test_a_doubtful_file_is_refused_with_its_place(database: Database, tmp_path: Path, kind: str) -> None:
    text, place = DOUBTFUL[kind]
    files = csv_files(tmp_path, text.encode() if isinstance(text, str) else text)
    done = populate(database, *files, check=False)
    assert done.exit_code == 65, done.stderr
    assert place in done.result["error"], done.result["error"]
    assert "invoices.csv" in done.result["error"]
    assert content(database) == EMPTY


def test_a_huge_field_is_refused_in_little_memory(database: Database, tmp_path: Path) -> None:
    size = 100 << 20
    for quote in (b"", b'"'):
        start = f"{HEADER}\n1,2026-01-05,1,2,10.00,".encode()
        done = populate(database, *csv_files(tmp_path, start + quote + b"x" * size + b"\n"), check=False)
        assert done.exit_code == 65, done.stderr
        assert "line 2, column 24" in done.result["error"]
        assert done.peak_rss_mib < 90


def test_what_looks_odd_and_is_clear_is_loaded(database: Database, tmp_path: Path) -> None:
    rows = [
        "\ufeff" + HEADER,
        '1,2026-01-05T10:00:00Z,1,2,10.00,"12"" pipe, long\r\nand ""round"""',
        '2, 2026-01-06 ,"1",,+20.5,""',
        "-3,2026-01-07 10:00:00.25,,2,-40,é",
    ]
    done = populate(database, *csv_files(tmp_path, "\r\n".join(rows).encode()))
    assert done.result["amount_usd"] == "-9.50"
    assert done.result["ignored_columns"] == ["note"]
    columns = "invoice_id, issue_date::text, issuer_id, receiver_id"
    assert database.sql(f"select {columns} from invoices order by 1") == [
        (-3, "2026-01-07 10:00:00.25", None, 2),
        (1, "2026-01-05 10:00:00", 1, 2),
        (2, "2026-01-06 00:00:00", 1, None),
    ]


def test_other_delimiters_are_read_when_they_are_named(database: Database, tmp_path: Path) -> None:
    files = csv_files(tmp_path, "\n".join([HEADER, *ROWS]).replace(",", ";").encode())
    (tmp_path / "customers.csv").write_text("customer_id;customer_name\n1;A, B\n2;C\n")
    assert populate(database, *files, "--delimiter", ";").result["amount_usd"] == "70.00"


def test_an_id_that_the_table_has_is_named_with_its_line(database: Database, tmp_path: Path) -> None:
    _, _, *invoices = csv_files(tmp_path, "\n".join([HEADER, *ROWS]).encode())
    database.sql("insert into customers values (1, 'A'), (2, 'B')")
    database.sql("insert into invoices values (2, '2026-01-01', 1, 2, 5)")
    done = populate(database, *invoices, check=False)
    assert done.exit_code == 65
    assert "line 3: invoices has invoice_id 2 already" in done.result["error"]
