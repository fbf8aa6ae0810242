"""The batch path's worst days: hidden rows, sources that begin anew or lose their rows, loose types."""

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.kafka import Connect, Kafka
from support.oracle import invoices_in, run_batch
from support.services import Database, Postgres, wait_until
from support.tasks import Result, run

READER = "invoice_reader"
WINDOW = ("--as-of", "2026-01-31", "--months", "2")
ROWS = """
    insert into customers values (1, 'A'), (2, 'B');
    insert into invoices values
        (1, '2026-01-05', 1, 2, 10), (2, '2026-01-06', 2, 1, -20.5), (3, '2025-12-06', 2, 1, 30);
"""


def env(database: Database, user: str = READER) -> dict[str, str]:
    return {"SOURCE_URL": database.url(user), **database.env(user)}


def query(database: Database, lake: Path, *flags: object, user: str = READER, exit_code: int = 0) -> Result:
    done = run("query_source", "--lake", lake.as_uri(), *WINDOW, *flags, env=env(database, user), check=False)
    assert done.exit_code == exit_code, done.stderr
    return done


def inspect(command: str, source: dict[str, str], lake: Path, *flags: object, exit_code: int = 0) -> Result:
    window = WINDOW if command == "verify" else ()
    done = run("inspect_lake", command, "--lake", lake.as_uri(), *window, *flags, env=source, check=False)
    assert done.exit_code == exit_code, done.stderr
    return done


def found_by_doctor(done: Result) -> dict[str, dict]:
    return {check["check"]: check for check in done.result["checks"] if check["area"] != "lake"}


def files(lake: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in lake.rglob("*") if path.is_file()}


def ids(lake: Path) -> list[int]:
    return [row[0] for row in invoices_in(lake)]


# Rows that the source hides


def test_rows_that_a_policy_hides_are_refused_by_every_command(database: Database, tmp_path: Path) -> None:
    database.sql(ROWS)
    run_batch(env(database), tmp_path.as_uri(), "2026-01-31", 2)
    before = files(tmp_path)
    database.sql("alter table invoices enable row level security")
    database.sql(f"create policy hides on invoices for select to {READER} using (issuer_id = 1)")
    for refresh in ("changed", "window", "latest"):
        refused = query(database, tmp_path, "--refresh", refresh, exit_code=78).result["error"]
        assert 'row-level security policy for table "invoices"' in refused
        assert "alter role … bypassrls" in refused
    assert files(tmp_path) == before
    assert "bypassrls" in inspect("verify", env(database), tmp_path, exit_code=78).result["error"]
    doctor = found_by_doctor(inspect("doctor", env(database), tmp_path, exit_code=78))
    assert doctor["row security"]["result"] == "fail"
    exempt = inspect("doctor", env(database, "postgres"), tmp_path)
    assert "exempt" in found_by_doctor(exempt)["row security"]["detail"]
    assert query(database, tmp_path, user="postgres").result["months_unchanged"] == 2


def test_a_view_that_asks_as_its_reader_is_refused_and_one_of_an_exempt_owner_is_read(
    database: Database, tmp_path: Path
) -> None:
    database.sql(ROWS)
    database.sql("alter table invoices enable row level security")
    database.sql("create view mine with (security_invoker = true) as select * from invoices")
    database.sql("create view theirs as select * from invoices")
    database.sql(f"grant select on mine, theirs to {READER}")
    assert "bypassrls" in query(database, tmp_path, "--table", "mine", exit_code=78).result["error"]
    query(database, tmp_path, "--table", "theirs")
    assert ids(tmp_path) == [1, 2, 3]


def test_a_partition_of_which_the_role_sees_nothing_is_read_through_its_parent(
    database: Database, tmp_path: Path
) -> None:
    database.sql(ROWS)
    database.sql(f"""
        create table split (like invoices) partition by hash (invoice_id);
        create table split_0 partition of split for values with (modulus 2, remainder 0);
        create table split_1 partition of split for values with (modulus 2, remainder 1);
        insert into split select * from invoices;
        grant select on split, split_0 to {READER};
        alter table split_0 enable row level security;
    """)
    query(database, tmp_path, "--table", "split")
    assert ids(tmp_path) == [1, 2, 3]


def test_a_row_that_is_inherited_on_two_ways_is_there_once(database: Database, tmp_path: Path) -> None:
    database.sql(ROWS)
    database.sql(f"""
        create table parent (like invoices);
        create table one () inherits (parent);
        create table other () inherits (parent);
        create table child () inherits (one, other);
        insert into parent select * from invoices where invoice_id = 1;
        insert into one select * from invoices where invoice_id = 2;
        insert into child select * from invoices where invoice_id = 3;
        grant select on parent, one, other, child to {READER};
        analyze parent, one, other, child;
    """)
    query(database, tmp_path, "--table", "parent")
    assert ids(tmp_path) == [1, 2, 3]
    # A policy of a child doesn't count for who reads its parent.
    database.sql("alter table child enable row level security")
    assert query(database, tmp_path, "--table", "parent", "--refresh", "window").result["rows"] == 3


def test_one_table_is_read_whatever_the_search_path_finds_first(database: Database, tmp_path: Path) -> None:
    database.sql(ROWS)
    database.sql(f"""
        create schema mine;
        create table mine.invoices (like public.invoices);
        insert into mine.invoices values (7, '2026-01-07', 1, 2, 70);
        grant usage on schema mine to {READER};
        grant select on mine.invoices to {READER};
        alter role {READER} in database {database.name} set search_path = mine, public;
    """)
    query(database, tmp_path / "default")
    assert ids(tmp_path / "default") == [1, 2, 3]
    query(database, tmp_path / "bare", "--table", "invoices")
    assert ids(tmp_path / "bare") == [7]


# Losses


@pytest.mark.parametrize("refresh", ["changed", "window", "latest"])
def test_a_window_that_lost_every_invoice_is_refused_until_it_is_meant(
    database: Database, tmp_path: Path, refresh: str
) -> None:
    database.sql(ROWS)
    flags = ("--refresh", refresh)
    query(database, tmp_path, *flags)
    before = files(tmp_path)
    database.sql("delete from invoices")
    refused = query(database, tmp_path, *flags, exit_code=65).result["error"]
    assert (
        "public.invoices has no invoices at all from 2025-12-01 to 2026-01-01, where the lake has 3"
        in refused
    )
    assert "--allow-empty" in refused
    query(database, tmp_path, *flags, "--dry-run", exit_code=65)
    assert files(tmp_path) == before
    meant = query(database, tmp_path, *flags, "--allow-empty").result
    assert meant["months_emptied"] == (1 if refresh == "latest" else 2)
    assert query(database, tmp_path, *flags, "--allow-empty").result["months_written"] == 0
    assert query(database, tmp_path, exit_code=65 if refresh == "latest" else 0)


def test_a_window_that_never_had_invoices_is_no_loss(database: Database, tmp_path: Path) -> None:
    assert query(database, tmp_path).result["months_emptied"] == 2
    assert query(database, tmp_path).result["months_unchanged"] == 2


def test_a_month_that_lost_nine_tenths_is_published_and_said(database: Database, tmp_path: Path) -> None:
    database.sql(ROWS)
    database.sql("insert into invoices select n, '2025-12-07', 1, 2, 1 from generate_series(100, 198) n")
    query(database, tmp_path)
    database.sql("delete from invoices where invoice_id >= 109")
    just = query(database, tmp_path).result
    assert just["rows"] == 10
    assert "months_lost_most" not in just
    database.sql("insert into invoices select n, '2025-12-07', 1, 2, 1 from generate_series(109, 199) n")
    query(database, tmp_path)
    database.sql("delete from invoices where invoice_id >= 108")
    planned = query(database, tmp_path, "--dry-run").result
    done = query(database, tmp_path)
    expected = [{"month": "2025-12-01", "rows_before": 101, "rows": 9}]
    assert done.result["months_lost_most"] == planned["months_lost_most"] == expected
    assert "2025-12-01 has 9 invoices where the last run found 101" in done.result["warnings"][0]
    assert "the last run found 101" in done.stderr
    status = inspect("status", {}, tmp_path).result
    assert status["partitions_lost_most_rows"] == 1
    # The next run that finds the month as it is leaves the mark; one that writes it takes it away.
    database.sql("insert into invoices values (900, '2025-12-08', 1, 2, 5)")
    query(database, tmp_path)
    assert inspect("status", {}, tmp_path).result["partitions_lost_most_rows"] == 0


# A source that begins anew


@pytest.fixture
def old_server() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


def moved(old: Database) -> Postgres:
    """Restore a dump into a new cluster, which then stands at the old one's address."""
    server = old.server
    dump = subprocess.run(
        [server.binaries / "pg_dump", "--data-only", "--table=customers", "--table=invoices", old.admin_url],
        check=True, capture_output=True,
    ).stdout  # fmt: skip
    new = Postgres()
    restore = [server.binaries / "psql", "--quiet", "--set=ON_ERROR_STOP=1"]
    url = new.create_database(old.name).admin_url
    subprocess.run([*restore, url], check=True, input=dump, stdout=subprocess.DEVNULL)
    server.stop()
    new.stop()
    new.port = server.port
    new.settings["port"] = str(server.port)
    new.start()
    return new


def lsn(database: Database) -> int:
    return int(database.sql("select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::int8")[0][0])


def test_a_restored_cluster_at_the_old_address_is_recognised_and_gone_on_from(
    old_server: Postgres, tmp_path: Path
) -> None:
    old = old_server.create_database()
    old.sql(ROWS)
    # The old cluster has written more than the new one ever will in this test.
    old.sql("create table junk as select md5(n::text) from generate_series(1, 400000) n")
    old.sql("drop table junk")
    old_lsn = lsn(old)
    run_batch(env(old), tmp_path.as_uri(), "2026-01-31", 2)
    with moved(old) as server:
        new = server.database(old.name)
        assert lsn(new) < old_lsn
        assert new.url() == old.url()
        same = query(new, tmp_path).result
        assert (same["months_unchanged"], same["months_written"]) == (2, 0)
        assert len(same["warnings"]) == 1
        new.sql("update invoices set amount_usd = 11 where invoice_id = 1")
        changed = query(new, tmp_path)
        assert (changed.result["months_unchanged"], changed.result["months_written"]) == (1, 1)
        sentence = changed.result["warnings"][0]
        identifier = str(new.sql("select system_identifier from pg_control_system()")[0][0])
        assert f"is cluster {identifier} now, the lake was read from cluster" in sentence
        assert "newest run wins" in sentence
        assert sentence in changed.stderr
        run_batch(env(new), tmp_path.as_uri(), "2026-01-31", 2)
        assert inspect("verify", env(new), tmp_path, "--deep").result["months_differ"] == 0
        # The lake's newest month is this cluster's now: there is nothing to say any more.
        assert "warnings" not in query(new, tmp_path, "--refresh", "window").result


def test_a_lake_of_an_older_program_is_read_and_gone_on_from(database: Database, tmp_path: Path) -> None:
    database.sql(ROWS)
    query(database, tmp_path)
    for path in (tmp_path / "_commits" / "invoices").glob("*.json"):
        record = json.loads(path.read_text())
        assert record["snapshot"].pop("cluster")["timeline"] == 1
        # Even a position that this cluster will not reach for long: nobody knows whose it was.
        record["snapshot"]["lsn"] = 1 << 60
        path.write_text(json.dumps(record))
    same = query(database, tmp_path).result
    assert same["months_unchanged"] == 2
    assert "warnings" not in same
    database.sql("update invoices set amount_usd = 31 where invoice_id = 3")
    assert query(database, tmp_path).result["months_written"] == 1
    records = [json.loads(path.read_text()) for path in (tmp_path / "_commits" / "invoices").glob("*.json")]
    assert sorted("cluster" in record["snapshot"] for record in records) == [False, True]
    assert inspect("status", {}, tmp_path).result["partitions_as_recorded"] == 2


def test_a_promoted_replica_that_lost_commits_is_newer_and_the_old_primary_is_older(
    old_server: Postgres, tmp_path: Path
) -> None:
    primary = old_server.create_database()
    primary.sql(ROWS)
    with old_server.replica() as server:
        replica = server.database(primary.name)
        wait_until(lambda: replica.sql("select count(*) from invoices") == [(3,)])
        server.stop()
        # What the primary writes now never reaches the replica.
        primary.sql("insert into invoices select n, '2026-01-09', 1, 2, 5 from generate_series(10, 5000) n")
        query(primary, tmp_path)
        old_lsn = lsn(primary)
        old_server.stop()
        server.start()
        replica.sql("select pg_promote()")
        assert lsn(replica) < old_lsn
        done = query(replica, tmp_path).result
        assert done["months_written"] == 1
        assert "is on timeline 2 now, the lake was read on timeline 1" in done["warnings"][0]
        assert ids(tmp_path) == [1, 2, 3]
        old_server.start()
        late = query(primary, tmp_path, exit_code=75).result["error"]
        assert "runs with newer snapshots keep committing" in late
        assert ids(tmp_path) == [1, 2, 3]


def test_a_server_restored_from_a_copy_of_its_files_says_what_to_do(
    old_server: Postgres, tmp_path: Path
) -> None:
    database = old_server.create_database()
    lake = tmp_path / "lake"
    database.sql(ROWS)
    old_server.stop()
    copy = old_server.folder / "copy"
    subprocess.run(["cp", "-a", old_server.data, copy], check=True)
    old_server.start()
    database.sql("insert into invoices select n, '2026-01-09', 1, 2, 5 from generate_series(10, 5000) n")
    query(database, lake)
    old_server.stop()
    shutil.rmtree(old_server.data)
    copy.rename(old_server.data)
    old_server.start()
    refused = query(database, lake, exit_code=75).result["error"]
    assert "restored from a copy of its files: then remove _commits/invoices" in refused
    shutil.rmtree(lake / "_commits" / "invoices")
    assert query(database, lake).result["months_written"] == 2
    assert ids(lake) == [1, 2, 3]


def test_a_role_that_may_not_ask_for_the_cluster_is_told_and_served(
    old_server: Postgres, tmp_path: Path
) -> None:
    database = old_server.create_database()
    database.sql(ROWS)
    database.sql("revoke execute on function pg_control_system() from public")
    done = query(database, tmp_path)
    assert "grant execute on functions pg_control_system()" in done.stderr
    assert ids(tmp_path) == [1, 2, 3]


# SQLite's loose types

GOOD = (2, "2026-01-06 10:00:00", 2, 1, "-20.5")


def sqlite_file(folder: Path, *rows: tuple) -> dict[str, str]:
    """Make a table without any type, so that every value stays what it is."""
    path = folder / "shop.db"
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as connection:
        connection.execute(
            "create table invoices (invoice_id, issue_date, issuer_id, receiver_id, amount_usd)"
        )
        connection.executemany("insert into invoices values (?, ?, ?, ?, ?)", rows)
    return {"SOURCE_URL": f"sqlite:{path}"}


def with_value(column: int, value: object) -> tuple:
    row = [1, "2026-01-05", 1, 2, "10.00"]
    row[column] = value
    return tuple(row)


ODD_VALUES = {
    "text id": (
        0,
        "INV-7",
        "invoice 'INV-7' (rowid 2): invoice_id is text, 'INV-7', where a whole number belongs",
    ),
    "id with letters": (0, "12abc", "invoice_id is text, '12abc'"),
    "id of digits": (0, "12", "invoice_id is text, '12'"),
    "real id": (0, 3.7, "invoice_id is a floating-point number, 3.7"),
    "blob id": (0, b"\x01", "invoice_id is blob, X'01'"),
    "no id": (0, None, "no id"),
    "text issuer": (2, "1x", "invoice 1 (rowid 2): issuer_id is text, '1x'"),
    "real receiver": (3, 2.5, "receiver_id is a floating-point number, 2.5"),
    "reserved receiver": (3, -(2**63), "receiver_id is -9223372036854775808, the smallest number there is"),
    "real amount": (4, 10.1, "amount_usd is a floating-point number, 10.1"),
    "blob amount": (4, b"10", "amount_usd is blob"),
    "amount with an exponent": (4, "1e2", "invoice 1: amount_usd is not a number"),
    "date as seconds": (1, 1767225600, "issue_date is integer, 1767225600"),
    "date as a Julian day": (1, 2461041.5, "issue_date is a floating-point number"),
    "blob date": (1, b"2026-01-05", "issue_date is blob"),
}
ODD_DATES = (
    "2026-1-05", "2026-01-5", " 2026-01-05", "2026-01-05 ", "2026-01-05 1:00:00", "2026-01-05 10:00",
    "2026-01-05t10:00:00", "2026-01-05 10:00:00+02:00", "2026-01-05  10:00:00", "20260105", "05/01/2026",
    "2026-02-30",
)  # fmt: skip


@pytest.mark.parametrize("kind", ODD_VALUES)
def test_a_value_of_another_type_is_refused_with_its_row(tmp_path: Path, kind: str) -> None:
    column, value, words = ODD_VALUES[kind]
    lake = tmp_path / "lake"
    source = sqlite_file(tmp_path, GOOD, with_value(column, value))
    done = run("query_source", "--lake", lake.as_uri(), *WINDOW, env=source, check=False)
    assert done.exit_code == 65, done.stderr
    assert words in done.result["error"], done.result["error"]
    assert not list(lake.rglob("*.parquet"))
    found = found_by_doctor(inspect("doctor", source, lake, exit_code=78))
    assert words in found["invoices"]["detail"]


@pytest.mark.parametrize("date", ODD_DATES)
def test_an_odd_date_is_named(tmp_path: Path, date: str) -> None:
    source = sqlite_file(tmp_path, GOOD, with_value(1, date))
    lake = (tmp_path / "lake").as_uri()
    done = run("query_source", "--lake", lake, *WINDOW, env=source, check=False)
    assert done.exit_code == 65, done.stderr
    assert f'invoice 1: "{date}" is not an ISO date' in done.result["error"]


def test_dates_of_every_accepted_form_lie_in_their_month(tmp_path: Path) -> None:
    forms = (
        "2026-01-01", "2026-01-31 23:59:59.999999", "2026-01-31T23:59:59Z", "2025-12-31T23:59:59.999999Z",
        "2026-01-01T00:00:00", "2025-12-01 00:00:00.000",
    )  # fmt: skip
    rows = [(number, date, 1, 2, "1") for number, date in enumerate(forms)]
    lake = tmp_path / "lake"
    done = run("query_source", "--lake", lake.as_uri(), *WINDOW, env=sqlite_file(tmp_path, *rows))
    assert done.result["rows"] == len(forms)
    by_text = [(number, date[:7]) for number, date in enumerate(forms)]
    assert [(row[0], f"{row[1]:%Y-%m}") for row in invoices_in(lake)] == by_text


def test_ids_that_an_older_program_cast_are_found(tmp_path: Path) -> None:
    """INV-7, 12abc and 3.7 once became 0, 12 and 3 in the rows and in their proof."""
    rows = [(1, *GOOD[1:]), (0, *GOOD[1:]), (12, *GOOD[1:]), (3, *GOOD[1:])]
    lake = tmp_path / "lake"
    run_batch(sqlite_file(tmp_path, *rows), lake.as_uri(), "2026-01-31", 2)
    loose = sqlite_file(tmp_path, *[(value, *GOOD[1:]) for value in (1, "INV-7", "12abc", 3.7)])
    for flags in ((), ("--deep",)):
        done = inspect("verify", loose, lake, *flags, exit_code=65)
        assert "INV-7" in done.result["error"]


# A difference


def test_invoices_that_differ_between_two_readings_are_named(database: Database, tmp_path: Path) -> None:
    database.sql(ROWS)
    database.sql("insert into invoices select n, '2026-01-08', 1, 2, n from generate_series(100, 9000) n")
    database.sql(f"""
        create view shaky as select invoice_id, issue_date, issuer_id, receiver_id,
            case when invoice_id in (2, 5000) then (random() * 1e9)::numeric(12, 2) else amount_usd end
            as amount_usd
            from invoices;
        grant select on shaky to {READER};
    """)
    error = query(database, tmp_path, "--table", "shaky", exit_code=65).result["error"]
    assert "month 2026-01-01: read" in error
    assert "two readings differ in invoices 2, 5000; nothing was published" in error
    assert not list(tmp_path.rglob("*.parquet"))


# Numbers and dates at their limits


def test_a_negative_scale_is_named_with_what_to_do(database: Database, tmp_path: Path) -> None:
    database.sql(ROWS)
    database.sql("alter table invoices alter amount_usd type numeric(12, -2)")
    error = query(database, tmp_path, exit_code=78).result["error"]
    assert error.startswith(
        "column amount_usd is numeric(12,-2), so Postgres rounds its amounts to multiples of 100"
    )
    database.sql(f"""
        create view whole as select invoice_id, issue_date, issuer_id, receiver_id,
            amount_usd::numeric(14, 0) as amount_usd from invoices;
        grant select on whole to {READER};
    """)
    assert query(database, tmp_path, "--table", "whole").result["amount_usd"] == "0"


def test_the_last_month_that_there_is_can_be_read(database: Database, tmp_path: Path) -> None:
    database.sql(ROWS)
    database.sql("insert into invoices values (9, '9999-12-31 23:59:59.999999', 1, 2, 9)")
    window = ("--as-of", "9999-12-31", "--months", "1")
    lite = sqlite_file(tmp_path, (9, "9999-12-31 23:59:59.999999", 1, 2, "9"))
    for name, source in (("postgres", env(database)), ("sqlite", lite)):
        lake = tmp_path / name
        assert run("query_source", "--lake", lake.as_uri(), *window, env=source).result["rows"] == 1
        assert ids(lake) == [9]


# What doctor finds beforehand


def test_doctor_counts_dates_that_stand_for_unknown_and_asks_about_cents(
    database: Database, tmp_path: Path
) -> None:
    database.sql(ROWS)
    found = found_by_doctor(inspect("doctor", env(database), tmp_path))
    assert found["dates"]["result"] == "ok"
    assert "amounts" not in found
    database.sql("""
        insert into invoices select n, '1899-12-31', 1, 2, 1 from generate_series(100, 111) n;
        insert into invoices values (200, '2101-01-01', 1, 2, 1), (201, '9999-12-31', 1, 2, 1),
            (202, '1900-01-01', 1, 2, 1), (203, '2100-12-31', 1, 2, 1);
        alter table invoices alter amount_usd type numeric using amount_usd * 100;
    """)
    found = found_by_doctor(inspect("doctor", env(database), tmp_path))
    assert found["dates"]["result"] == "warn"
    assert found["dates"]["detail"].endswith("12 before 1900, 2 after 2100")
    assert found["months"]["result"] == "ok"
    assert found["amounts"]["result"] == "warn"
    assert "are they cents?" in found["amounts"]["detail"]
    database.sql("update invoices set amount_usd = 0.5 where invoice_id = 1")
    found = found_by_doctor(inspect("doctor", env(database), tmp_path))
    assert found["amounts"]["result"] == "ok"


def test_doctor_looks_at_a_replicas_replay(database: Database, tmp_path: Path) -> None:
    database.sql(ROWS)
    with database.server.replica() as server:
        copy = server.database(database.name)
        wait_until(lambda: copy.sql("select count(*) from invoices") == [(3,)])
        found = found_by_doctor(inspect("doctor", env(copy), tmp_path))
        assert found["replay"]["result"] == "warn"
        assert "30 seconds" in found["replay"]["detail"]
        server.settings["max_standby_streaming_delay"] = "30min"
        server.restart()
        assert found_by_doctor(inspect("doctor", env(copy), tmp_path))["replay"]["result"] == "ok"
    assert "replay" not in found_by_doctor(inspect("doctor", env(database), tmp_path))


def test_doctor_looks_at_the_connector(kafka: Kafka, database: Database, tmp_path: Path) -> None:
    database.sql(ROWS)
    connect = Connect(kafka, database)
    try:
        flags = ("--connect", connect.url)

        def doctor(*more: object, exit_code: int = 0) -> dict[str, dict]:
            done = inspect("doctor", env(database), tmp_path, *flags, *more, exit_code=exit_code)
            return {check["check"]: check for check in done.result["checks"] if check["area"] == "connector"}

        assert "there is no connector" in doctor(exit_code=78)["connect"]["detail"]
        assert connect.register().returncode == 0
        found = doctor()
        assert {name: check["result"] for name, check in found.items()} == dict.fromkeys(found, "ok")
        assert set(found) >= {
            "connect",
            "table",
            "amounts",
            "dates",
            "keys",
            "operations",
            "slot",
            "publication",
        }
        database.sql("alter publication invoice_platform set (publish = 'insert, update, delete')")
        database.sql("alter table invoices replica identity default")
        found = doctor(exit_code=78)
        assert found["publication"]["result"] == "fail"
        assert found["replica identity"]["result"] == "warn"
    finally:
        connect.close()
    gone = doctor(exit_code=75)
    assert gone["connect"]["detail"].startswith("cannot ask Kafka Connect")


# verify --deep


def test_a_deep_look_compares_every_invoice_in_one_snapshot(database: Database, tmp_path: Path) -> None:
    database.sql(ROWS)
    database.sql(
        "insert into invoices select n, '2026-01-08', null, 1, n * 0.01 from generate_series(100, 400) n"
    )
    run_batch(env(database), tmp_path.as_uri(), "2026-01-31", 2)
    assert inspect("verify", env(database), tmp_path, "--deep").result["months_differ"] == 0
    # Count and sum of the month stay as they were.
    database.sql("update invoices set amount_usd = amount_usd + 1 where invoice_id = 1")
    database.sql("update invoices set amount_usd = amount_usd - 1 where invoice_id = 2")
    database.sql("update invoices set invoice_id = 999 where invoice_id = 400")
    done = inspect("verify", env(database), tmp_path, exit_code=65)
    problems = " ".join(done.result["months"][-1]["problems"])
    assert (
        "one by one: invoice 1 differs, invoice 2 differs, invoice 400 is in the lake and not in the source, "
        "invoice 999 is in the source and not in the lake"
    ) in problems
