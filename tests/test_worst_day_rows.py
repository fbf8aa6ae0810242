"""Rows that are there twice or lack a value, and objects of other programs in the lake's folders."""

import sqlite3
from pathlib import Path

import duckdb
import pytest

from support.oracle import invoices_in
from support.services import Database, wait_until
from support.tasks import Result, run

READER = "invoice_reader"
WINDOW = ("--as-of", "2026-01-31", "--months", "2")
COLUMNS = (
    "invoice_id bigint, issue_date timestamp, issuer_id bigint, receiver_id bigint, amount_usd numeric(12, 2)"
)
ROWS = """(1, '2026-01-05', 1, 2, 10), (2, '2026-01-06', 2, 1, -20.5), (3, '2025-12-06', 2, 1, 30)"""


def env(database: Database) -> dict[str, str]:
    return {"SOURCE_URL": database.url(READER), **database.env(READER)}


def query(source: dict[str, str], lake: Path, *flags: object, exit_code: int = 0) -> Result:
    done = run("query_source", "--lake", lake.as_uri(), *WINDOW, *flags, env=source, check=False)
    assert done.exit_code == exit_code, done.stderr
    return done


def table(database: Database, options: str = "", rows: str = ROWS) -> None:
    database.sql(f"create table docs ({COLUMNS}) {options}; grant select on docs to {READER}")
    if options:
        database.sql("create table d0 partition of docs default")
    database.sql(f"insert into docs values {rows}")


KEYLESS = ("--table", "docs")


@pytest.mark.parametrize("options", ["", "partition by range (issue_date)"])
def test_an_id_that_is_there_twice_is_refused(database: Database, tmp_path: Path, options: str) -> None:
    table(database, options)
    query(env(database), tmp_path, *KEYLESS)
    database.sql("insert into docs values (3, '2026-01-07', 1, 2, 99)")
    refused = query(env(database), tmp_path, *KEYLESS, exit_code=65).result["error"]
    assert "column invoice_id has the same id in several rows (3)" in refused
    assert query(env(database), tmp_path, *KEYLESS, "--dry-run", exit_code=65)
    assert len(invoices_in(tmp_path)) == 3, "nothing was published"
    query(env(database), tmp_path, *KEYLESS, "--where", "amount_usd < 99")
    accepted = query(env(database), tmp_path, *KEYLESS, "--allow-repeated-ids").result
    assert accepted["months_written"] == 2
    assert [row[0] for row in sorted(invoices_in(tmp_path))] == [1, 2, 3, 3]


def test_ten_ids_are_named_and_a_view_is_looked_through(database: Database, tmp_path: Path) -> None:
    table(database, rows=", ".join(f"({n % 20}, '2026-01-05', 1, 2, 1)" for n in range(40)))
    database.sql(f"create view doubled as select * from docs; grant select on doubled to {READER}")
    refused = query(env(database), tmp_path, "--table", "doubled", exit_code=65).result["error"]
    assert "(0, 1, 10, 11, 12, 13, 14, 15, 16, 17 …)" in refused


def test_an_id_outside_of_the_window_does_not_count(database: Database, tmp_path: Path) -> None:
    table(database, rows=f"{ROWS}, (1, '2020-01-01', 1, 2, 5)")
    assert query(env(database), tmp_path, *KEYLESS).result["rows"] == 3


def test_only_a_key_on_the_id_alone_spares_the_look(database: Database, tmp_path: Path) -> None:
    table(database)
    # As an index's build does it, so that plans are the same before and after.
    database.sql("analyze docs")
    others = """select count(*) from pg_stat_activity
        where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()"""
    # Not those of an index: the planner looks for the ends of a range there.
    scans = "select seq_scan from pg_stat_user_tables where relname = 'docs'"

    def scanned() -> int:
        # A session adds what it has scanned to the statistics when it ends.
        wait_until(lambda: database.sql(others) == [(0,)], what="the end of the sessions")
        (before,) = database.sql(scans)[0]
        query(env(database), tmp_path / str(before), *KEYLESS)
        wait_until(lambda: database.sql(others) == [(0,)], what="the end of the sessions")
        return database.sql(scans)[0][0] - before

    without_key = scanned()
    database.sql("create unique index on docs (invoice_id, issue_date)")
    database.sql("create unique index on docs (invoice_id) where amount_usd > 0")
    assert scanned() == without_key
    database.sql("create unique index on docs (invoice_id)")
    assert scanned() < without_key


@pytest.mark.parametrize(
    ("key", "exit_code"), [("", 65), ("not null primary key", 0), ("not null unique", 0)]
)
def test_sqlite_without_a_key_is_looked_through(tmp_path: Path, key: str, exit_code: int) -> None:
    path = tmp_path / "i.db"
    with sqlite3.connect(path) as connection:
        connection.execute(f"""create table invoices (invoice_id integer {key}, issue_date text,
            issuer_id integer, receiver_id integer, amount_usd text)""")
        second = 1 if exit_code else 2
        connection.execute(
            "insert into invoices values (1, '2026-01-05', 1, 2, '1'), (?, '2025-12-05', 1, 2, '1')", [second]
        )
    connection.close()
    query({"SOURCE_URL": f"sqlite:{path}"}, tmp_path / "lake", exit_code=exit_code)


def test_missing_values_name_their_invoices(database: Database, tmp_path: Path) -> None:
    table(database, rows=f"{ROWS}, (7, '2026-01-08', 1, 2, null)")
    refused = query(env(database), tmp_path, *KEYLESS, exit_code=65).result["error"]
    assert "1 invoices have NULL in amount_usd (invoice 7); correct them" in refused
    database.sql("update docs set amount_usd = 1, invoice_id = null where invoice_id = 7")
    refused = query(env(database), tmp_path, *KEYLESS, exit_code=65).result["error"]
    assert "1 invoices have NULL in invoice_id (one of 2026-01-08 00:00:00)" in refused
    # Those that are outside of the window, or have no date either, are not meant.
    database.sql("insert into docs values (null, null, 1, 2, 1), (null, '2020-01-08', 1, 2, 1)")
    refused = query(env(database), tmp_path, *KEYLESS, exit_code=65).result["error"]
    assert "1 invoices have NULL in invoice_id (one of 2026-01-08 00:00:00)" in refused
    database.sql("delete from docs where invoice_id is null and issue_date is distinct from '2026-01-08'")
    database.sql("update docs set invoice_id = 7, issue_date = null where invoice_id is null")
    assert "invoice 7 has no date" in query(env(database), tmp_path, *KEYLESS, exit_code=65).result["error"]
    database.sql("update docs set issue_date = '2026-01-08', amount_usd = 'NaN' where invoice_id = 7")
    assert "invoice 7 has NaN" in query(env(database), tmp_path, *KEYLESS, exit_code=65).result["error"]
    database.sql("update docs set issue_date = 'infinity', amount_usd = 1 where invoice_id = 7")
    assert "invoice 7 has infinity" in query(env(database), tmp_path, *KEYLESS, exit_code=65).result["error"]
    assert query(env(database), tmp_path, *KEYLESS, "--where", "invoice_id <> 7").result["rows"] == 3


def test_a_missing_amount_in_sqlite_is_called_null(tmp_path: Path) -> None:
    path = tmp_path / "i.db"
    with sqlite3.connect(path) as connection:
        connection.execute("""create table invoices (invoice_id integer primary key, issue_date text,
            issuer_id integer, receiver_id integer, amount_usd text)""")
        connection.execute("insert into invoices values (7, '2026-01-05', 1, 2, null)")
    connection.close()
    source = {"SOURCE_URL": f"sqlite:{path}"}
    refused = query(source, tmp_path / "lake", exit_code=65).result["error"]
    assert "invoice 7: amount_usd is NULL; give it an amount" in refused
    query(source, tmp_path / "lake", "--where", "amount_usd is not null")


# Objects that no task has written

JANUARY = "issue_date_yearmonth=2026-01-01"


def foreign(path: Path) -> bytes:
    """Write a Parquet file as another program would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    duckdb.sql("select 1 as invoice_id").write_parquet(str(path))
    return path.read_bytes()


def test_another_programs_object_is_not_replaced(database: Database, tmp_path: Path) -> None:
    table(database)
    path = tmp_path / "invoices" / JANUARY / "part-0.parquet"
    for content in (foreign(path), b"notes", b""):
        path.write_bytes(content)
        refused = query(env(database), tmp_path, *KEYLESS, exit_code=65).result["error"]
        assert "was written by another program" in refused
        assert path.read_bytes() == content
    path.unlink()
    query(env(database), tmp_path, *KEYLESS)
    # With a record the place is this task's, and what is wrong there is mended.
    foreign(path)
    query(env(database), tmp_path, *KEYLESS)
    assert len(invoices_in(tmp_path)) == 3
    # An object of its own without a record is what a killed run leaves.
    (tmp_path / "_commits" / "invoices" / f"{JANUARY}.json").unlink()
    assert query(env(database), tmp_path, *KEYLESS).result["months_written"] == 1


def test_strange_objects_beside_the_tasks_stay_and_are_said(database: Database, tmp_path: Path) -> None:
    table(database)
    tasks = ("aggregate_by_business", "write_partitioned_parquet")
    query(env(database), tmp_path, *KEYLESS)
    run(tasks[0], "--lake", tmp_path.as_uri(), *WINDOW)
    beside = {
        name: foreign(tmp_path / name)
        for name in (
            f"invoices/{JANUARY}/part-00000-spark.parquet",
            f"invoice_by_business/{JANUARY}/export.parquet",
            f"invoice_by_business/{JANUARY}/business_id=07/part-0.parquet",
            f"invoice_by_business/{JANUARY}/_SUCCESS",
        )
    }
    told = query(env(database), tmp_path, *KEYLESS).result
    assert "part-00000-spark.parquet" in told["warnings"][0]
    assert told["months_unchanged"] == 2
    for unchanged in (0, 2):
        told = run(tasks[1], "--lake", tmp_path.as_uri(), *WINDOW).result
        assert "export.parquet" in told["warnings"][0]
        assert "business_id=07" in told["warnings"][0]
        assert "_SUCCESS" not in told["warnings"][0]
        assert told["months_unchanged"] == unchanged
    # Another partitioning removes what the first one wrote, and nothing else.
    changed = run(tasks[1], "--lake", tmp_path.as_uri(), *WINDOW, "--partition-by", "month").result
    assert changed["partitions_deleted"] == 4
    assert {name: (tmp_path / name).read_bytes() for name in beside} == beside


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mixed.csv", "n,t\n1,2026-01-31T10:00:00Z\n2,2026-01-31 11:30:00\n"),
        ("day.csv", "n,t\n1,2026-01-31T10:00:00+02:00\n2,2026-02-01\n"),
        ("mixed.jsonl", '{"n": 1, "t": "2026-01-31T10:00:00Z"}\n{"n": 2, "t": "2026-01-31 11:30:00"}\n'),
        ("instants.csv", "n,t\n1,2026-01-31T10:00:00Z\n2,2026-01-31T10:00:00+02:00\n"),
    ],
)
def test_times_with_and_without_an_offset_stay_what_they_are(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    told = run(
        "query_lake", "--with", f"x={(tmp_path / name).as_uri()}", "--format", "csv",
        "SELECT t FROM x ORDER BY n", check=False,
    )  # fmt: skip
    assert told.exit_code == 0, told.stderr
    found = told.stdout.splitlines()[1:3]
    if name == "instants.csv":
        assert found == ["2026-01-31 10:00:00", "2026-01-31 08:00:00"]
    else:
        assert all(text in content for text in found)


# Another zone's days


def test_months_and_days_are_those_of_the_zone(database: Database, tmp_path: Path) -> None:
    database.sql("""
        create table docs (invoice_id bigint primary key, issue_date timestamptz not null, issuer_id bigint,
            receiver_id bigint, amount_usd numeric(12, 2) not null);
        -- Around the borders of months in Madrid, and around both changes of its clocks in 2025.
        insert into docs
        select n, t, 1, 2, n from (values
            (1, '2025-12-31 22:59:59.999999+00'::timestamptz), (2, '2025-12-31 23:00:00+00'),
            (3, '2026-01-31 22:59:59+00'), (4, '2026-01-31 23:30:00+00'),
            (5, '2025-03-30 00:59:59+00'), (6, '2025-03-30 01:00:00+00'), (7, '2025-03-31 21:59:59+00'),
            (8, '2025-03-31 22:00:00+00'), (9, '2025-10-26 00:30:00+00'), (10, '2025-10-26 01:30:00+00'),
            (11, '2025-10-31 23:00:00+00')) as rows (n, t);
        grant select on docs to invoice_reader;
    """)
    zone = ("--table", "docs", "--time-zone", "Europe/Madrid")
    window = ("--as-of", "2026-02-15", "--months", "12")
    lake = tmp_path.as_uri()

    def months() -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for folder in sorted((tmp_path / "invoices").iterdir()):
            rows = duckdb.read_parquet(str(folder / "*.parquet")).fetchall()
            found[folder.name.removeprefix("issue_date_yearmonth=")[:7]] = sorted(row[0] for row in rows)
        return found

    run("query_source", "--lake", lake, *window, *zone, env=env(database))
    local = "to_char(issue_date at time zone 'Europe/Madrid', 'YYYY-MM')"
    lists = f"select {local}, array_agg(invoice_id order by invoice_id) from docs group by 1"
    expected = dict(database.sql(lists))
    assert months() == expected
    assert expected["2026-02"] == [4]
    assert expected["2025-04"] == [8]
    written = duckdb.read_parquet(f"{tmp_path}/invoices/*/*.parquet").filter("invoice_id = 10").fetchall()
    assert str(written[0][1]) == "2025-10-26 02:30:00"
    for task in ("aggregate_by_business", "write_partitioned_parquet"):
        run(task, "--lake", lake, *window)
    verified = run("inspect_lake", "verify", "--deep", "--lake", lake, *window, *zone, env=env(database))
    assert verified.result["months_differ"] == 0
    assert (
        run("query_source", "--lake", lake, *window, *zone, env=env(database)).result["months_unchanged"]
        == 12
    )
    # In UTC other months are other months, and read anew.
    run("query_source", "--lake", lake, *window, "--table", "docs", env=env(database))
    assert months()["2026-01"] == [3, 4]
    for wrong, said in (("UTC+2", "knows no time zone"), ("Europe/Madird", "knows no time zone")):
        done = run(
            "query_source", "--lake", lake, *window, "--table", "docs", "--time-zone", wrong,
            env=env(database), check=False,
        )  # fmt: skip
        assert done.exit_code == 78
        assert said in done.result["error"]
    done = run(
        "query_source",
        "--lake",
        lake,
        *window,
        "--time-zone",
        "Europe/Madrid",
        env=env(database),
        check=False,
    )
    assert done.exit_code == 78
    assert "has no time zone" in done.result["error"]
