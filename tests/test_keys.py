"""Ids of any kind: UUIDs, texts, long numbers, from the source to the published tables and their readers."""

import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import duckdb
import pytest
from deltalake import DeltaTable

from support.oracle import (
    expected_months,
    expected_window,
    invoices_in,
    published_months,
    published_window,
    run_batch,
)
from support.services import SUPERUSER, Bucket, Database, Postgres
from support.tasks import Result, run

READER = "invoice_reader"
AS_OF, MONTHS = "2026-01-31", 2
WINDOW = ("--as-of", AS_OF, "--months", MONTHS)
FIRST, END = "2025-12-01", "2026-02-01"
NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"

# A number becomes the n-th id: what folders, COPY, CSV, JSON and SQL literals take for something else.
TEXTS = """(array['a/b=50%', ' padded ', '007', '7', 'NULL', 'null', E'tab\\tline\\nback\\\\slash',
    '''quoted" ', 'ñandú €', '%2F', 'business_id=1', '\\N', '=', 'a,b;c',
    'A', 'a', repeat('long', 50)])[%s % 17 + 1]"""
UUIDS = "md5((%s)::text)::uuid"
KINDS = {
    "uuid": ("uuid", UUIDS, "uuid", UUIDS % "(%s) * 7"),
    "text": ("text", "'INV/' || (%s) || ' ñ'", "text", TEXTS),
    "varchar and char": ("varchar(30)", "'INV-' || (%s)", "char(205)", TEXTS),
    "integer and text": ("int", "(%s)", "text", TEXTS),
    "uuid and integer": ("uuid", UUIDS, "bigint", "(%s) - 5"),
    "long numbers": ("numeric(38, 0)", "(%s) - '1e37'::numeric", "numeric(12, 0)", "(%s) - 5"),
    "numbers and text": ("numeric(18, 0)", "(%s) - '1e17'::numeric", "text", TEXTS),
}


def make(database: Database, kind: str, rows: int = 400, by: str = "") -> None:
    """Make a table `docs` of such ids over two months, some of them without an issuer or receiver."""
    id_type, an_id, business_type, business = KINDS[kind]

    def of(expression: str, number: str) -> str:
        # Some engines take these folders for that of a missing business.
        if by == "month,business_id":
            expression = (
                expression.replace("'NULL'", "'N'").replace("'null'", "'n'").replace("'\\N'", "'\\M'")
            )
        return expression.replace("%s", number)

    database.sql(f"""
        create table docs (invoice_id {id_type} primary key, issue_date timestamp not null,
            issuer_id {business_type}, receiver_id {business_type}, amount_usd numeric(12, 2) not null)
    """)
    with database.connect() as connection:
        connection.execute(f"""
            insert into docs
            select {of(an_id, "n")}, timestamp '2025-12-01' + n * interval '3 hours 40 minutes',
                   case when n % 13 > 0 then {of(business, "(n * n % 23)")} end,
                   case when n % 11 > 0 then {of(business, "(n % 19)")} end, (n * 37 % 1000 - 400) / 7.0
            from generate_series(1, {rows}) n
        """)
    database.sql(f"grant select on docs to {READER}")


def source(database: Database) -> dict[str, str]:
    return {"SOURCE_URL": database.url(READER), **database.env(READER), "SOURCE_TABLE": "public.docs"}


def plain(rows: list) -> list:
    """Rows in an order that no collation decides, UUIDs as texts and whole decimals as integers."""

    def value(cell: object) -> object:
        if isinstance(cell, UUID):
            return str(cell)
        is_whole = isinstance(cell, Decimal) and cell == int(cell)
        return int(cell) if is_whole else cell

    cells = [tuple(map(value, row)) for row in rows]
    return sorted(cells, key=lambda row: [(cell is None, str(cell)) for cell in row])


def assert_lake_is_right(database: Database, lake: Path, business: str) -> None:
    """Compare all three tables with what Postgres itself says of the source."""
    assert plain(invoices_in(lake)) == plain(database.sql("select * from docs"))
    months = plain(expected_months(database, FIRST, END, "docs"))
    assert plain(published_months(lake, business)) == months
    window = plain(expected_window(database, FIRST, END, "docs"))
    assert plain(published_window(lake, "2026-01-01", MONTHS)) == window


@pytest.mark.parametrize("by", ["month", "month,business_id", "month,bucket(business_id,4)"])
@pytest.mark.parametrize("kind", KINDS)
def test_ids_of_every_kind_are_grouped_as_postgres_groups_them(
    database: Database, tmp_path: Path, kind: str, by: str
) -> None:
    make(database, kind, by=by)
    business = "bigint" if KINDS[kind][2] in ("bigint", "numeric(12, 0)") else "varchar"
    first = run_batch(source(database), tmp_path.as_uri(), AS_OF, MONTHS, write=["--partition-by", by])
    assert [task.result["months_written"] for task in first] == [2, 2, 2]
    assert_lake_is_right(database, tmp_path, business)
    run("inspect_lake", "verify", "--deep", "--lake", tmp_path.as_uri(), *WINDOW, env=source(database))

    again = run_batch(source(database), tmp_path.as_uri(), AS_OF, MONTHS, write=["--partition-by", by])
    assert [task.result["months_written"] for task in again] == [0, 0, 0], "nothing had changed"
    database.sql(
        "update docs set issuer_id = receiver_id where issue_date = (select max(issue_date) from docs)"
    )
    changed = run_batch(source(database), tmp_path.as_uri(), AS_OF, MONTHS, write=["--partition-by", by])
    assert [task.result["months_written"] for task in changed] == [1, 1, 1]
    assert_lake_is_right(database, tmp_path, business)


def ask(lake: str, question: str, env: dict[str, str] | None = None) -> list[str]:
    done = run("query_lake", "--lake", lake, "--format", "csv", question, env=env or {}, check=False)
    assert done.exit_code == 0, done.stderr
    return done.stdout.splitlines()[1:]


@pytest.mark.parametrize("by", ["month", "month,business_id", "month,bucket(business_id,4)"])
def test_readers_see_texts_as_the_source_has_them(database: Database, tmp_path: Path, by: str) -> None:
    make(database, "text", by=by)
    lake = tmp_path.as_uri()
    run_batch(source(database), lake, AS_OF, MONTHS, write=["--partition-by", by])
    expected = database.sql(
        "select issuer_id, count(*) from docs where issuer_id is not null group by 1 having count(*) > 1"
    )
    for business, count in expected:
        literal = business.replace("'", "''")
        total = f"select sum(issued_count) from invoice_by_business where business_id = '{literal}'"
        assert ask(lake, total) == [str(count)], business
        assert ask(lake, f"select count(*) from invoices where issuer_id = '{literal}'") == [str(count)]
    without = database.sql("select count(*) from docs where issuer_id is null")[0][0]
    null = "select sum(issued_count) from invoice_by_business where business_id is null"
    assert ask(lake, null) == [str(without)]
    joined = "select count(*) from invoices i join invoice_by_business b on b.business_id = i.issuer_id"
    twice = database.sql("""
        select count(*) from docs i join (select distinct date_trunc('month', issue_date), b from docs,
        lateral (values (issuer_id), (receiver_id)) sides(b)) months on months.b = i.issuer_id
    """)
    assert ask(lake, joined) == [str(twice[0][0])]

    run("query_lake", "publish", "--lake", lake)
    table = DeltaTable(str(tmp_path / "delta" / "invoice_by_business"))
    rows = table.to_pyarrow_table().select(["business_id", "issued_count"]).to_pydict()
    counts: dict[str | None, int] = {}
    for business, count in zip(rows["business_id"], rows["issued_count"], strict=True):
        counts[business] = counts.get(business, 0) + count
    assert {key: count for key, count in counts.items() if count > 1} == dict(expected) | {None: without}
    assert run("query_lake", "lint", "--lake", lake).result["errors"] == 0
    (statement,) = [
        text for text in ddl(lake, "duckdb") if "invoice_by_business" in text and text.startswith("CREATE")
    ]
    duck = duckdb.connect()
    duck.execute(statement)
    seen = duck.execute("select business_id, sum(issued_count)::int from invoice_by_business group by 1")
    assert {key: count for key, count in seen.fetchall() if count > 1} == dict(expected) | {None: without}


def ddl(lake: str, engine: str) -> list[str]:
    done = run("query_lake", "ddl", "--lake", lake, "--engine", engine, check=False)
    assert done.exit_code == 0, done.stderr
    return [text.strip() + ";" for text in done.stdout.rsplit("\n{", 1)[0].split(";") if text.strip()]


def test_texts_are_folders_in_a_bucket_too(database: Database, bucket: Bucket, tmp_path: Path) -> None:
    make(database, "text", by="month,business_id")
    environment = source(database) | bucket.env
    run_batch(environment, bucket.url, AS_OF, MONTHS, write=["--partition-by", "month,business_id"])
    run("inspect_lake", "verify", "--deep", "--lake", bucket.url, *WINDOW, env=environment)
    assert_lake_is_right(database, bucket.download(tmp_path), "varchar")
    total = "select sum(issued_count) from invoice_by_business where business_id = 'a/b=50%'"
    count = database.sql("select count(*) from docs where issuer_id = %s", "a/b=50%")[0][0]
    assert ask(bucket.url, total, bucket.env) == [str(count)]


def test_ids_that_become_text_make_every_month_new(database: Database, tmp_path: Path) -> None:
    """And back again: nothing of the other kind stays behind, and readers see one kind or the wider one."""
    lake, write = tmp_path.as_uri(), ["--partition-by", "month,business_id"]
    make(database, "uuid and integer")
    run_batch(source(database), lake, AS_OF, MONTHS, write=write)
    for business, kind in (("text", "varchar"), ("bigint", "bigint")):
        database.sql(f"""
            alter table docs alter issuer_id type {business} using issuer_id::{business},
                             alter receiver_id type {business} using receiver_id::{business}
        """)
        # One month alone: the lake then has both kinds.
        one = ("--as-of", AS_OF, "--months", 1)
        run("query_source", "--lake", lake, *one, env=source(database))
        kinds = "select count(distinct issuer_id) from invoices"
        assert ask(lake, kinds) == [str(database.sql("select count(distinct issuer_id) from docs")[0][0])]
        refused = run("aggregate_by_business", "--lake", lake, *WINDOW, check=False)
        assert refused.exit_code == 78
        assert "run query_source --refresh window for all months" in refused.result["error"]
        refused = run("query_lake", "ddl", "--lake", lake, "--engine", "hive", check=False)
        assert (refused.exit_code, "column issuer_id of invoices is" in refused.stderr) == (65, True)
        done = run_batch(source(database), lake, AS_OF, MONTHS, write=write)
        assert done[2].result["months_written"] == 2
        assert_lake_is_right(database, tmp_path, kind)
        run("inspect_lake", "verify", "--lake", lake, *WINDOW, env=source(database))


def query(env: dict[str, str], lake: Path, exit_code: int, *flags: object) -> Result:
    done = run("query_source", "--lake", lake.as_uri(), *WINDOW, *flags, env=env, check=False)
    assert done.exit_code == exit_code, done.stderr
    return done


def test_what_no_id_may_be_is_said_in_a_sentence(database: Database, tmp_path: Path) -> None:
    make(database, "text", rows=20)
    env = source(database)
    twice = "('twice', '2026-01-02', 'a', 'b', 1)"
    issuer = "alter table docs alter issuer_id type"
    for change, exit_code, words in (
        ("alter table docs drop constraint docs_pkey", 0, ""),
        ("alter table docs alter invoice_id drop not null", 0, ""),
        (f"insert into docs values {twice}, {twice}", 65, "(twice)"),
        ("update docs set invoice_id = null where invoice_id = 'twice'", 65, "2 invoices have NULL"),
        ("delete from docs where invoice_id is null", 0, ""),
        (f"{issuer} jsonb using null", 78, "column issuer_id has type jsonb"),
        (f"{issuer} numeric using null", 78, "numeric without a number of digits"),
        (f"{issuer} numeric(30, 0)", 78, "may have up to 18 digits"),
    ):
        database.sql(change)
        assert words in query(env, tmp_path, exit_code).stderr.replace("\\", ""), change


@pytest.mark.parametrize(
    ("business", "words"),
    [
        ("", "an empty text"),
        (NULL_PARTITION, "take for a missing one"),
        ("Null", "take for a missing one"),
        ("\\N", "take for a missing one"),
        ("x" * 300, "longer than the name"),
    ],
)
def test_a_business_that_no_folder_can_be_named_after(
    database: Database, tmp_path: Path, business: str, words: str
) -> None:
    make(database, "text", rows=20, by="month,business_id")
    database.sql("insert into docs values ('odd', '2026-01-02', %s, 'b', 1)", business)
    for task in ("query_source", "aggregate_by_business"):
        run(task, "--lake", tmp_path.as_uri(), *WINDOW, env=source(database))
    write = ("write_partitioned_parquet", "--lake", tmp_path.as_uri(), *WINDOW)
    refused = run(*write, "--partition-by", "month,business_id", check=False)
    assert refused.exit_code == 65
    assert words in refused.result["error"]
    run(*write, "--partition-by", "month,bucket(business_id,4)")
    assert_lake_is_right(database, tmp_path, "varchar")


def test_a_database_in_another_encoding_is_refused(postgres: Postgres, tmp_path: Path) -> None:
    text = "create database latin encoding 'LATIN1' locale 'C' template template0"
    postgres.database(SUPERUSER).sql(text)
    latin = postgres.database("latin")
    try:
        make(latin, "uuid", rows=5)
        query(source(latin), tmp_path / "uuid", 0)
        latin.sql("alter table docs alter issuer_id type text")
        latin.sql("alter table docs alter receiver_id type text")
        refused = query(source(latin), tmp_path / "text", 78).result["error"]
        assert "whose encoding is LATIN1" in refused
    finally:
        latin.drop()


def test_programs_for_integers_alone_say_so(database: Database, tmp_path: Path) -> None:
    make(database, "uuid", rows=5)
    tokens = tmp_path / "tokens.json"
    run("invoice_api", "token", "--tokens", tokens, "--name", "t", "--scopes", "invoices")
    flags = ("--lake", tmp_path.as_uri(), "--tokens", tokens)
    served = run("invoice_api", *flags, env=source(database), check=False)
    assert served.exit_code == 78
    assert "the ids of invoices are text, and invoice_api takes" in served.stderr
    database.sql("drop table docs")
    make(database, "numbers and text", rows=5)
    database.sql("alter table docs alter issuer_id type int using 1, alter receiver_id type int using 2")
    served = run("invoice_api", *flags, env=source(database), check=False)
    assert served.exit_code == 78
    assert "ids are numeric, and invoice_api takes smallint, integer or bigint alone" in served.stderr
    database.sql("drop table docs")
    make(database, "uuid", rows=5)
    decisions = {"DECISIONS_URL": database.admin_url}
    verified = run("invoice_consumer", "verify", *WINDOW, env=source(database) | decisions, check=False)
    assert verified.exit_code == 78, verified.stderr
    assert "the ids of invoices are text, and invoice_consumer verify takes" in verified.stderr


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "source.db", isolation_level=None)
    yield connection
    connection.close()


@pytest.mark.parametrize("declared", ["text", "varchar(40)", ""])
def test_texts_of_sqlite(sqlite: sqlite3.Connection, tmp_path: Path, declared: str) -> None:
    sqlite.execute(f"create table docs (invoice_id {declared}, issue_date text, issuer_id {declared}, "
                   f"receiver_id {declared}, amount_usd text)")  # fmt: skip
    rows = [
        ("INV-1", "2026-01-05 10:00:00", "a/b", "007", "10.50"),
        ("", "2026-01-06 10:00:00", None, "7", "-3"),
        ("o'ne =\t", "2025-12-06", "7", None, "2.25"),
    ]
    sqlite.executemany("insert into docs values (?, ?, ?, ?, ?)", rows)
    env = {"SOURCE_URL": f"sqlite:{tmp_path}/source.db", "SOURCE_TABLE": "docs"}
    lake = tmp_path / "lake"
    run_batch(env, lake.as_uri(), AS_OF, MONTHS, write=["--partition-by", "month,business_id"])
    run("inspect_lake", "verify", "--deep", "--lake", lake.as_uri(), *WINDOW, env=env)
    assert {(row[0], row[2], row[3], row[4]) for row in invoices_in(lake)} == {
        (key, issuer, receiver, Decimal(amount)) for key, _, issuer, receiver, amount in rows
    }
    totals = {
        (row[1], row[2], row[3]) for row in published_months(lake, "varchar") if str(row[0]) == "2026-01-01"
    }
    assert totals == {
        ("a/b", Decimal("10.50"), 0),
        ("007", 0, Decimal("10.50")),
        (None, -3, 0),
        ("7", 0, -3),
    }
    for odd in (5, 2.5, b"x"):
        sqlite.execute("insert into docs values ('odd', '2026-01-07', ?, null, '1')", [odd])
        stored = sqlite.execute("select typeof(issuer_id) from docs where invoice_id = 'odd'").fetchone()[0]
        if stored != "text":
            refused = query(env, lake, 65).result["error"]
            assert "'odd'" in refused
            assert "where text belongs" in refused
        sqlite.execute("delete from docs where invoice_id = 'odd'")
