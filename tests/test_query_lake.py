"""SQL over the lake and other sources: the same answers as Postgres, no more bytes than needed."""

import csv
import io
import json
import os
import pty
import select
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from support.flaky_s3 import FlakyS3
from support.oracle import run_batch
from support.process import free_port
from support.services import Bucket, Database, Postgres
from support.tasks import Result, binary, run, start

AS_OF, MONTHS = "2026-01-31", 3
JANUARY = "issue_date_yearmonth = '2026-01-01'"


@pytest.fixture(scope="module")
def filled(postgres: Postgres) -> Iterator[Database]:
    """Three months of invoices between 30 customers, some without a receiver."""
    database = postgres.create_database()
    source = {"SOURCE_URL": database.url(), **database.env()}
    run(
        "populate_tables",
        "--customers",
        30,
        "--invoices",
        60_000,
        "--months",
        3,
        "--until",
        AS_OF,
        env=source,
    )
    database.sql("update invoices set receiver_id = null where invoice_id % 50 = 0")
    yield database
    database.drop()


@pytest.fixture(scope="module")
def lake(filled: Database, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The lake of these months, in a local folder."""
    folder = tmp_path_factory.mktemp("lake").as_uri()
    run_batch({"SOURCE_URL": filled.url(), **filled.env()}, folder, AS_OF, MONTHS)
    return folder


def ask(lake: str | None, sql: str, *flags: object, env: dict | None = None, check: bool = True) -> Result:
    """Ask for an answer on stdout."""
    where = ("--lake", lake) if lake else ()
    done = run("query_lake", *where, *flags, sql, env=env, check=False)
    if check:
        assert done.exit_code == 0, done.stderr
    return done


def facts(done: Result) -> dict[str, Any]:
    """Return the result line, which is the last on stderr when stdout carries the answer."""
    return json.loads(done.stderr.splitlines()[-1])


def rows(done: Result) -> list[dict[str, Any]]:
    """Return the rows of an answer in JSON lines, numbers exact."""
    return [json.loads(line, parse_float=Decimal) for line in done.stdout.splitlines()]


def values(lake: str | None, sql: str, *flags: object, env: dict | None = None) -> list[tuple]:
    """Return the rows of an answer as tuples."""
    return [tuple(row.values()) for row in rows(ask(lake, sql, "--format", "jsonl", *flags, env=env))]


def refused(done: Result, exit_code: int, *words: str) -> None:
    """Insist on one clear sentence, the exit code, and nothing printed."""
    assert done.exit_code == exit_code, done.stderr
    assert done.stdout == ""
    error = facts(done)["error"]
    assert "\n" not in error
    for word in words:
        assert word in error, error


def test_answers_are_those_of_postgres(filled: Database, lake: str) -> None:
    window = "issue_date >= '2025-11-01' and issue_date < '2026-02-01'"
    by_issuer = (
        "select issuer_id, count(*) as n, sum(amount_usd) as total, min(amount_usd) as low,"
        " max(amount_usd) as high from invoices"
    )
    expected = filled.sql(f"{by_issuer} where {window} group by 1 order by 1")
    assert values(lake, f"{by_issuer} group by 1 order by 1") == expected

    top = "select business_id, total_amount_issued from business_last_n_months order by 2 desc, 1 limit 5"
    totals = filled.sql(
        f"select issuer_id, sum(amount_usd) from invoices where {window}"
        " group by 1 order by 2 desc, 1 limit 5"
    )
    assert values(lake, top) == totals

    without = "select sum(total_amount_received) from invoice_by_business where business_id is null"
    assert values(lake, without) == filled.sql(
        f"select sum(amount_usd) from invoices where receiver_id is null and {window}"
    )
    joined = (
        "select count(*) from invoices i join invoice_by_business b on i.issuer_id = b.business_id"
        " and i.issue_date_yearmonth = b.issue_date_yearmonth where b.issued_count > 1"
    )
    assert values(lake, joined)[0][0] > 0


def test_a_month_and_a_business_are_read_from_their_objects_alone(lake: str) -> None:
    everything = facts(ask(lake, "select sum(amount_usd) from invoices"))["tables"]["invoices"]
    assert (everything["files_read"], everything["files"]) == (3, 3)
    month = facts(ask(lake, f"select sum(amount_usd) from invoices where {JANUARY}"))["tables"]["invoices"]
    assert (month["files_read"], month["files"]) == (1, 3)
    assert month["bytes_read"] < everything["bytes_read"] / 2
    # One column of five.
    assert everything["bytes_read"] < everything["bytes"] / 2

    total = "select sum(total_amount_issued) from invoice_by_business"
    business = facts(ask(lake, f"{total} where business_id = 7"))["tables"]["invoice_by_business"]
    assert (business["files_read"], business["files"] > 80) == (3, True)
    both = facts(ask(lake, f"{total} where business_id = 7 and {JANUARY}"))
    assert both["files_read"] == 1
    assert both["bytes_read"] == both["tables"]["invoice_by_business"]["bytes_read"]
    assert both["bytes_read"] < 10_000


def test_what_is_pruned_is_not_asked_of_the_store(filled: Database, bucket: Bucket) -> None:
    run_batch({"SOURCE_URL": filled.url(), **filled.env()}, bucket.url, AS_OF, MONTHS, env=bucket.env)
    seen: list[str] = []

    def watch(method: str, path: str, _: int) -> None:
        seen.append(f"{method} {path.split('?')[0]}")

    with FlakyS3(bucket.env["AWS_ENDPOINT_URL"], watch) as proxy:
        env = {**bucket.env, "AWS_ENDPOINT_URL": proxy.endpoint}
        found = values(bucket.url, f"select count(*) from invoices where {JANUARY}", env=env)
    assert found == filled.sql("select count(*) from invoices where issue_date >= '2026-01-01'")
    objects = [line for line in seen if line.endswith(".parquet")]
    assert objects
    assert all("GET" in line and "2026-01-01" in line for line in objects), objects


def test_forms_of_an_answer_keep_every_digit(lake: str, tmp_path: Path, bucket: Bucket) -> None:
    sql = (
        "select issuer_id, sum(amount_usd) as total, max(issue_date) as last from invoices"
        " group by 1 order by 1"
    )
    lines = rows(ask(lake, sql, "--format", "jsonl"))
    assert all(isinstance(line["total"], Decimal) for line in lines)

    text = ask(lake, sql)
    table = list(csv.DictReader(io.StringIO(text.stdout)))
    assert [Decimal(line["total"]) for line in table] == [line["total"] for line in lines]
    assert facts(text)["rows"] == len(lines)

    file = tmp_path / "answer.parquet"
    done = run("query_lake", "--lake", lake, "--output", file, sql)
    assert (done.result["format"], done.result["rows"]) == ("parquet", len(lines))
    written = pq.read_table(file)
    assert str(written.schema.field("total").type).startswith("decimal128(38, 2")
    assert written["total"].to_pylist() == [line["total"] for line in lines]
    assert [path.name for path in tmp_path.iterdir()] == ["answer.parquet"]

    run("query_lake", "--lake", lake, "--output", f"{bucket.url}/a/b.csv", sql, env=bucket.env)
    assert bucket.read("a/b.csv").decode() == text.stdout
    shown = ask(lake, sql, "--format", "table", "--max-rows", 5).stdout
    assert f"and {len(lines) - 5} more rows" in shown


def test_files_of_every_form_are_tables(lake: str, tmp_path: Path, bucket: Bucket) -> None:
    (tmp_path / "rates.csv").write_text("day,currency,rate\n2026-01-01,EUR,0.853701\n2026-01-02,EUR,1\n")
    (tmp_path / "r.jsonl").write_text(
        '{"id": 1, "rating": {"score": 12345678901234567.25, "tags": ["a", "b"]}}\n'
        '{"id": 2, "rating": null}\n'
    )
    (tmp_path / "list.json").write_text('[{"id": 1}, {"id": 2, "note": "x"}]')
    (tmp_path / "a.txt").write_text("first\nsecond INV-7\n")
    (tmp_path / "b.txt").write_text("third\n")
    (tmp_path / "m.eml").write_text(
        "From: a@example.com\nTo: b@example.com\nSubject: About INV-12\n"
        "Date: Mon, 5 Jan 2026 10:00:00 +0000\n\nPlease check.\n"
    )
    flags = [
        flag
        for name, file in {
            "rates": tmp_path / "rates.csv",
            "ratings": (tmp_path / "r.jsonl").as_uri(),
            "list": tmp_path / "list.json",
            "notes": f"{tmp_path}/*.txt",
            "mails": f"{tmp_path}/*.eml",
        }.items()
        for flag in ("--with", f"{name}={file}")
    ]
    assert values(None, "select sum(rate) from rates where day <= '2026-01-31'", *flags) == [
        (Decimal("1.853701"),)
    ]
    nested = values(None, "select r.rating.score as s from ratings r where id = 1", *flags)
    assert nested == [(Decimal("12345678901234567.25"),)]
    assert values(None, "select note from list order by id", *flags) == [(None,), ("x",)]
    assert values(None, "select file, line from notes where text like '%INV%'", *flags) == [("a.txt", 2)]
    found = values(None, "select regexp_extract(subject, 'INV-(\\d+)') as n, sent, body from mails", *flags)
    assert found == [("12", "2026-01-05T10:00:00", "Please check.\n")]

    run("query_lake", "--lake", lake, "--output", f"{bucket.url}/old/year=2026/i.parquet",
        f"select * exclude (issue_date_yearmonth) from invoices where {JANUARY}", env=bucket.env)  # fmt: skip
    old = ("--with", f"old={bucket.url}/old/", "--with", f"rates={bucket.url}/*.csv")
    bucket.client.put_object(Bucket=bucket.name, Key="x.csv", Body=b"n\n1\n")
    assert values(lake, "select sum(amount_usd) from old where year = 2026", *old, env=bucket.env) == values(
        lake, f"select sum(amount_usd) from invoices where {JANUARY}"
    )
    assert values(None, "select n from rates", *old, env=bucket.env) == [(1,)]


def test_tables_of_databases_are_tables(filled: Database, lake: str, tmp_path: Path) -> None:
    sql = "select c.{name}, count(*) from invoices i join {customers} c on i.issuer_id = c.{id} group by 1"
    columns = [row[0] for row in filled.sql(
        "select column_name from information_schema.columns where table_name = 'customers' order by"
        " ordinal_position")]  # fmt: skip
    names = {"id": columns[0], "name": columns[1]}
    flag = ("--with", f"clients={filled.url('invoice_reader')}#public.customers")
    window = "invoices where issue_date >= '2025-11-01' and issue_date < '2026-02-01'"
    asked = sql.format(customers="customers", **names).replace("invoices i", f"(select * from {window}) i")
    expected = sorted(filled.sql(asked))
    found = values(lake, sql.format(customers="clients", **names), *flag, env=filled.env("invoice_reader"))
    assert sorted(found) == expected

    file = tmp_path / "small.db"
    with sqlite3.connect(file) as connection:
        connection.execute("create table budgets (business integer, amount text)")
        connection.execute("insert into budgets values (7, '12.50'), (8, null)")
    budgets = ("--with", f"budgets=sqlite:{file}#budgets")
    assert values(None, "select sum(amount) from budgets", *budgets) == [(Decimal("12.5"),)]


def test_an_interactive_session_answers_and_remembers(lake: str, tmp_path: Path) -> None:
    history = tmp_path / "state" / "history"
    main, side = pty.openpty()
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TERM": "xterm", "LAKE_URL": lake}
    command = [binary("query_lake"), "--history", history]
    with subprocess.Popen(command, env=env, stdin=side, stdout=side, stderr=side) as process:
        os.close(side)
        seen = b""

        def expect(text: bytes) -> None:
            nonlocal seen
            while text not in seen:
                readable, _, _ = select.select([main], [], [], 30)
                assert readable, f"{text!r} was not printed, but {seen!r}"
                seen += os.read(main, 65536)
            seen = seen[seen.index(text) + len(text) :]

        try:
            for prompt, typed, answer in (
                (b"lake> ", b"\\d", b"business_last_n_months"),
                (b"lake> ", b"select count(*) as n", b""),
                (b"-> ", b"from invoices;", b"rows, "),
                (b"lake> ", b"select x from nothing;", b"there is no table nothing"),
                (b"lake> ", b"\\q", b'"queries":1'),
            ):
                expect(prompt)
                os.write(main, typed + b"\r")
                expect(answer)
            process.wait(timeout=30)
        finally:
            process.kill()
    os.close(main)
    assert process.returncode == 0
    assert "from invoices;" in history.read_text()


def test_a_query_sees_one_committed_state_while_others_write(database: Database, tmp_path: Path) -> None:
    """Invoice n is worth n: whatever was committed, count and sum must belong together."""
    lake = tmp_path.as_uri()
    source = {"SOURCE_URL": database.url(), **database.env()}
    database.sql("insert into customers values (1, 'x')")
    stop = threading.Event()
    written = []

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            database.sql("insert into invoices values (%s, '2026-01-05', 1, 1, %s)", number, number)
            done = run("query_source", "--lake", lake, "--as-of", AS_OF, "--months", 1, env=source)
            assert done.exit_code == 0
            written.append(number)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while not written:
            time.sleep(0.02)
        counts = []
        for _ in range(12):
            least = written[-1]
            [(count, total)] = values(lake, "select count(*) as n, sum(amount_usd) as total from invoices")
            assert total == count * (count + 1) / 2
            assert count >= least
            counts.append(count)
        assert len(set(counts)) > 1
    finally:
        stop.set()
        writer.join()


def test_an_object_that_no_record_names_is_not_read(filled: Database, bucket: Bucket) -> None:
    """What a killed writer leaves: the new object without its record."""
    run_batch({"SOURCE_URL": filled.url(), **filled.env()}, bucket.url, AS_OF, 2, env=bucket.env)
    key = "invoices/issue_date_yearmonth=2026-01-01/part-0.parquet"
    other = bucket.read("invoices/issue_date_yearmonth=2025-12-01/part-0.parquet")
    stray = "invoices/issue_date_yearmonth=2024-01-01/part-0.parquet"
    before = values(bucket.url, "select count(*) from invoices", env=bucket.env)
    bucket.client.put_object(Bucket=bucket.name, Key=stray, Body=other)
    assert values(bucket.url, "select count(*) from invoices", env=bucket.env) == before
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=other)
    done = ask(bucket.url, "select count(*) from invoices", env=bucket.env, check=False)
    refused(done, 75, "commit records", "run again")
    # The other months are as committed.
    december = "select count(*) from invoices where issue_date_yearmonth = '2025-12-01'"
    assert values(bucket.url, december, env=bucket.env)[0][0] > 0


def test_wrong_names_types_and_sql_are_told(lake: str, tmp_path: Path) -> None:
    def wrong(sql: str, *flags: object) -> Result:
        return ask(lake, sql, *flags, check=False)

    refused(wrong("select * from invoice_by_busines"), 2, "Did you mean invoice_by_business?")
    refused(wrong("select amount from invoices"), 2, "no column amount", "Did you mean amount_usd?")
    refused(wrong("selec 1"), 2, "not SQL")
    (tmp_path / "codes.csv").write_text("id,name\nA1,x\nB2,y\n")
    codes = ("--with", f"codes={tmp_path}/codes.csv")
    refused(wrong("select * from invoices i join codes c on i.issuer_id = c.id", *codes), 2, "types", "CAST")
    refused(wrong("select 1", "--with", "invoices=x.csv"), 2, "the lake has a table of that name")
    secret = wrong("select 1", "--with", "c=postgres://u:c4nary@h/db#t")
    refused(secret, 2, "PGPASSWORD")
    assert "c4nary" not in secret.stderr
    refused(ask(None, "select * from invoices", check=False), 2, "--lake")
    refused(ask((tmp_path / "none").as_uri(), "select 1 from invoices", check=False), 78, "there is no lake")
    refused(ask(tmp_path.as_uri(), "select 1 from invoices", check=False), 78, "run query_source first")


def test_wrong_files_are_told_with_their_line(lake: str, tmp_path: Path) -> None:
    def load(name: str, content: str) -> Result:
        (tmp_path / name).write_text(content)
        return ask(None, "select * from x", "--with", f"x={tmp_path / name}", check=False)

    refused(load("a.xlsx", "x"), 65, "a.xlsx is not a supported file", ".parquet")
    refused(load("a.parquet", "x" * 100), 65)
    refused(load("a.jsonl", '{"a": 1}\n{"a": \n'), 65, "a.jsonl line 2 is not JSON")
    refused(load("b.jsonl", '{"a": 1}\n{"a": "x"}\n'), 65, "line 2: field a is text", "a number")
    refused(load("a.csv", "a,b\n1,2\n3\n"), 65, "a.csv line 3, column 1: the row has 1 field")
    refused(load("q.csv", 'a,b\n1,"x\n2,y\n'), 65, "q.csv line 2, column 3: a quote", "never closed")
    refused(load("t.csv", 'a,b\n1,"x"y\n'), 65, "t.csv line 2, column 6: text follows the quote")
    refused(load("s.csv", "a;b\n1;2\n"), 65, "s.csv line 1, column 1", "semicolons")
    refused(load("m.csv", "a,b\n1,2\r\n"), 65, "m.csv line 2, column 4", "line ends")
    refused(load("n.csv", "a,b\n1,\0\n"), 65, "n.csv line 2, column 3", "NUL")
    (tmp_path / "bom.csv").write_text("\ufeffa\n7\n")
    assert values(None, "select a from x", "--with", f"x={tmp_path}/bom.csv") == [(7,)]
    refused(load("b.csv", "a\n1\n2\n3\nn/a\n"), 65, "line 5, column 1: column a holds", "--null-text")
    done = ask(None, "select count(a) from x", "--with", f"x={tmp_path}/b.csv", "--null-text", "n/a")
    assert done.stdout.splitlines()[1] == "3"
    refused(load("a.eml", "hello"), 65, "a.eml is not an e-mail")
    missing = ask(None, "select * from x", "--with", f"x={tmp_path}/none.csv", check=False)
    refused(missing, 78, "there is no file at")


def test_services_that_are_away_and_missing_credentials_are_told(tmp_path: Path) -> None:
    port = free_port()
    away = f"x=postgres://reader@127.0.0.1:{port}/shop#customers"
    refused(ask(None, "select * from x", "--with", away, check=False), 75, "cannot connect")
    env = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_RETRY_SECONDS": "1",
        "AWS_REGION": "us-east-1",
    }
    done = ask("s3://none", "select * from invoices", env=env, check=False)
    refused(done, 78, "no credentials", "AWS_ACCESS_KEY_ID")
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    refused(ask("s3://none", "select * from invoices", env=env | keys, check=False), 75)


def test_a_query_that_takes_too_much_memory_is_ended(lake: str, tmp_path: Path) -> None:
    # A list of nine million rows can neither be streamed nor spilled.
    many = "select array_agg(cast(a.invoice_id as text) || cast(b.invoice_id as text)) as x from invoices a"
    many += " cross join (select invoice_id from invoices limit 150) b"
    done = ask(lake, many, "--memory-budget", "96MiB", check=False)
    refused(done, 78, "--memory-budget")
    big = tmp_path / "big.csv"
    big.write_text("a\n" + "1\n" * 20_000_000)
    done = ask(None, "select sum(a) from x", "--with", f"x={big}", "--memory-budget", "64MiB", check=False)
    refused(done, 78, "do not fit --memory-budget")


def test_a_query_that_takes_too_long_is_ended(lake: str) -> None:
    cross = (
        "select sum(a.amount_usd + c.amount_usd) from invoices a cross join invoices b cross join invoices c"
    )
    begun = time.monotonic()
    refused(ask(lake, cross, "--timeout", 1, check=False), 78, "--timeout of 1 s")
    assert time.monotonic() - begun < 20


def test_a_signal_ends_a_query(lake: str) -> None:
    cross = (
        "select sum(a.amount_usd + c.amount_usd) from invoices a cross join invoices b cross join invoices c"
    )
    task = start("query_lake", "--lake", lake, cross)
    time.sleep(1)
    task.terminate()
    done = task.finish(timeout=10)
    refused(done, 75, "stopped by a signal")
