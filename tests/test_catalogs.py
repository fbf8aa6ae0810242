"""The lake in a Hive metastore and in AWS Glue, and what Trino answers from there."""

import contextlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread

import pytest

from support.hive import Metastore, Trino
from support.moto import REGION, Moto
from support.oracle import run_batch
from support.process import free_port
from support.questions import QUESTIONS, expected, statements, texts
from support.services import Bucket, Database, Minio, Postgres
from support.tasks import Result, run

AS_OF, MONTHS = "2026-01-31", 3
BUCKETS = ["--partition-by", "month,bucket(business_id,4)"]
TABLES = ("invoices", "invoice_by_business", "business_last_n_months")
# More partitions than one request takes: 45 businesses in each of three months, and NULL.
CUSTOMERS = 45
UNCHANGED = {"created": False, "partitions_added": 0, "partitions_removed": 0}


def fill(postgres: Postgres) -> Database:
    """Three months of invoices between all customers, some without a receiver."""
    database = postgres.create_database()
    source = environment(database)
    run("populate_tables", "--customers", CUSTOMERS, "--invoices", 3000, "--months", MONTHS, "--until", AS_OF,
        env=source)  # fmt: skip
    database.sql("update invoices set receiver_id = null where invoice_id % 50 = 0")
    return database


def environment(database: Database) -> dict[str, str]:
    """Return what tells the tasks of the source."""
    return {"SOURCE_URL": database.url(), **database.env()}


@pytest.fixture(scope="module")
def filled(postgres: Postgres) -> Iterator[Database]:
    """A database that no test changes."""
    database = fill(postgres)
    yield database
    database.drop()


@pytest.fixture(scope="module")
def lake(filled: Database, minio: Minio) -> Bucket:
    """The lake of these months on S3, an object per month and business."""
    bucket = minio.bucket()
    run_batch(environment(filled), bucket.url, AS_OF, MONTHS, env=bucket.env)
    return bucket


@pytest.fixture(scope="module")
def metastore(minio: Minio) -> Iterator[Metastore]:
    """One metastore for all tests, which use databases of their own."""
    with Metastore(minio) as server:
        yield server


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    """Glue and Athena for all tests, which use databases of their own."""
    with Moto() as server:
        yield server


@pytest.fixture(scope="module")
def trino(minio: Minio, metastore: Metastore, moto: Moto) -> Iterator[Trino]:
    """Trino with both catalogs."""
    glue = {
        "hive.metastore": "glue",
        "hive.metastore.glue.region": REGION,
        "hive.metastore.glue.endpoint-url": moto.url,
        "hive.metastore.glue.aws-access-key": "test",
        "hive.metastore.glue.aws-secret-key": "test",
        # moto gives every segment all partitions, and knows no statistics of them.
        "hive.metastore.glue.partitions-segments": "1",
        "hive.table-statistics-enabled": "false",
    }
    with Trino(minio, {"hive": {"hive.metastore.uri": metastore.url}, "glue": glue}) as server:
        yield server


def register(
    lake: Bucket, catalog: str, database: str, moto: Moto | None = None, **options: object
) -> Result:
    """Register a lake; `options` are those of `run`."""
    env = lake.env | ({"AWS_ENDPOINT_URL_GLUE": moto.url} if moto else {})
    return run("query_lake", "register", "--lake", lake.url, "--catalog", catalog, "--database", database,
               env=env | options.pop("env", {}), **options)  # fmt: skip


def answers(trino: Trino, schema: str) -> list[list[list[str]]]:
    """Ask Trino all questions."""
    return [texts(trino.sql(question, schema)) for question in QUESTIONS]


def partitions(trino: Trino, table: str, schema: str) -> set[tuple]:
    """Return the partitions that Trino sees."""
    return set(trino.sql(f'select * from "{table}$partitions"', schema))


def test_trino_answers_as_postgres_once_a_metastore_knows_the_lake(
    filled: Database, lake: Bucket, metastore: Metastore, trino: Trino
) -> None:
    objects = lake.keys()
    facts = register(lake, metastore.url, "finance").result
    assert (facts["catalog"], facts["database"]) == (metastore.url, "finance")
    assert set(facts["tables"]) == set(TABLES)
    for table, fact in facts["tables"].items():
        assert (fact["created"], fact["partitions_added"]) == (True, fact["partitions"]), table
    assert facts["tables"]["invoice_by_business"]["partitions"] > 100
    assert answers(trino, "hive.finance") == expected(filled)

    known = {table: partitions(trino, table, "hive.finance") for table in TABLES}
    assert {business for _, business in known["invoice_by_business"]} >= {None, 1, CUSTOMERS}
    again = register(lake, metastore.url, "finance").result["tables"]
    for table, fact in again.items():
        assert fact == UNCHANGED | {"partitions": len(known[table])}, table
        assert partitions(trino, table, "hive.finance") == known[table]
    # Nothing but descriptions has changed.
    assert lake.keys() == objects


def test_trino_answers_as_postgres_with_the_printed_definitions(
    filled: Database, lake: Bucket, trino: Trino
) -> None:
    printed = run("query_lake", "ddl", "--engine", "trino", "--database", "printed", "--lake", lake.url,
                  env=lake.env, check=False)  # fmt: skip
    trino.sql("create schema hive.printed")
    for statement in statements(printed.stdout):
        trino.sql(statement)
    assert answers(trino, "hive.printed") == expected(filled)


@pytest.mark.parametrize("catalog", ["hive", "glue", "printed"])
def test_trino_reads_businesses_that_have_texts_for_ids(
    catalog: str, database: Database, bucket: Bucket, metastore: Metastore, moto: Moto, trino: Trino
) -> None:
    """Folders are escaped as Hive does it, and catalogs hold the texts themselves."""
    database.sql("""
        create table docs as select n as invoice_id,
            timestamp '2026-01-01' + n * interval '1 hour' as issue_date, texts[n % 9 + 1] as issuer_id,
            texts[n % 4 + 1] as receiver_id, n::numeric(12, 2) as amount_usd
        from generate_series(1, 400) n, (select array[null, 'a/b=50%', '007', '7', 'ñ €', ' x ', 'A', '%2F',
            '''q" {[^]}:?*#'] as texts) choices
    """)
    source = environment(database) | {"SOURCE_TABLE": "docs"}
    run_batch(source, bucket.url, AS_OF, MONTHS, env=bucket.env, query=["--allow-repeated-ids"])
    schema = "hive.printed_texts" if catalog == "printed" else f"{catalog}.texts"
    if catalog == "printed":
        ddl = ("ddl", "--engine", "trino", "--database", "printed_texts")
        printed = run("query_lake", *ddl, "--lake", bucket.url, env=bucket.env, check=False)
        trino.sql(f"create schema {schema}")
        for statement in statements(printed.stdout):
            trino.sql(statement)
    else:
        url = metastore.url if catalog == "hive" else "glue"
        tables = register(bucket, url, "texts", moto).result["tables"]
        again = register(bucket, url, "texts", moto).result["tables"]["invoice_by_business"]
        assert again == UNCHANGED | {"partitions": tables["invoice_by_business"]["partitions"]}
    counts = trino.sql("select business_id, sum(issued_count) from invoice_by_business group by 1", schema)
    assert dict(counts) == dict(database.sql("select issuer_id, count(*) from docs group by 1"))
    one = "select sum(issued_count) from invoice_by_business where business_id = 'a/b=50%'"
    by_issuer = "select count(*) from invoices where issuer_id = 'a/b=50%'"
    assert trino.sql(one, schema) == trino.sql(by_issuer, schema) == [(45,)]


@pytest.mark.parametrize("catalog", ["hive", "glue"])
def test_months_that_come_and_go_and_other_cuts_are_followed(
    catalog: str, postgres: Postgres, bucket: Bucket, metastore: Metastore, moto: Moto, trino: Trino
) -> None:
    database = fill(postgres)
    source, url = environment(database), metastore.url if catalog == "hive" else "glue"
    schema = f"{catalog}.followed"

    def registered() -> dict:
        return register(bucket, url, "followed", moto).result["tables"]

    run_batch(source, bucket.url, AS_OF, 2, env=bucket.env)
    registered()
    run_batch(source, bucket.url, AS_OF, 3, env=bucket.env)
    facts = registered()
    assert facts["invoices"] == UNCHANGED | {"partitions": 3, "partitions_added": 1}
    assert answers(trino, schema) == expected(database)

    database.sql("delete from invoices where issue_date >= '2025-12-01' and issue_date < '2026-01-01'")
    run_batch(source, bucket.url, AS_OF, 3, env=bucket.env)
    facts = registered()
    assert facts["invoices"] == UNCHANGED | {"partitions": 2, "partitions_removed": 1}
    assert facts["invoice_by_business"]["partitions_removed"] > 40
    assert len(partitions(trino, "invoice_by_business", schema)) == facts["invoice_by_business"]["partitions"]
    assert answers(trino, schema) == expected(database)

    run_batch(source, bucket.url, AS_OF, 3, env=bucket.env, write=BUCKETS)
    objects = bucket.keys()
    facts = registered()
    assert facts["invoices"] == UNCHANGED | {"partitions": 2}
    assert facts["invoice_by_business"] == {
        "created": True, "partitions": 8, "partitions_added": 8, "partitions_removed": 0,
    }  # fmt: skip
    assert answers(trino, schema) == expected(database)
    assert bucket.keys() == objects
    database.drop()


def test_somebody_elses_table_is_refused_and_stays(
    lake: Bucket, bucket: Bucket, metastore: Metastore, moto: Moto, trino: Trino
) -> None:
    register(lake, "glue", "theirs", moto)
    moto.client("glue").update_table(DatabaseName="theirs", TableInput={"Name": "invoices"})
    trino.sql("create schema hive.theirs")
    trino.sql(
        f"create table hive.theirs.invoices (a bigint) with (external_location = '{bucket.url}/theirs')"
    )
    for catalog in (metastore.url, "glue"):
        done = register(lake, catalog, "theirs", moto, check=False)
        assert done.exit_code == 65, done.stderr
        assert "theirs.invoices was not made by query_lake register; drop that table or" in done.stderr
    assert trino.sql("select * from hive.theirs.invoices") == []


def test_glue_has_what_athena_needs(lake: Bucket, moto: Moto, trino: Trino, filled: Database) -> None:
    facts = register(lake, "glue", "finance", moto).result["tables"]
    glue = moto.client("glue")
    table = glue.get_table(DatabaseName="finance", Name="invoice_by_business")["Table"]
    storage = table["StorageDescriptor"]
    assert table["TableType"] == "EXTERNAL_TABLE"
    assert table["PartitionKeys"] == [
        {"Name": "issue_date_yearmonth", "Type": "date"}, {"Name": "business_id", "Type": "bigint"},
    ]  # fmt: skip
    types = {column["Name"]: column["Type"] for column in storage["Columns"]}
    assert (types["total_amount_issued"], types["issued_count"]) == ("decimal(38,2)", "bigint")
    assert types["first_issue_date"] == "timestamp"
    assert storage["Location"] == f"{lake.url}/invoice_by_business"
    assert storage["SerdeInfo"]["SerializationLibrary"].endswith("ParquetHiveSerDe")

    pages = glue.get_paginator("get_partitions").paginate(DatabaseName="finance", TableName=table["Name"])
    found = {tuple(one["Values"]): one["StorageDescriptor"] for page in pages for one in page["Partitions"]}
    assert len(found) == facts["invoice_by_business"]["partitions"] > 100
    assert ("2026-01-01", "__HIVE_DEFAULT_PARTITION__") in found
    folders = {key.rsplit("/", 1)[0] for key in lake.keys("invoice_by_business/")}
    assert {one["Location"] for one in found.values()} == {f"{lake.url}/{folder}" for folder in folders}
    assert all(one["Columns"] == storage["Columns"] for one in found.values())
    # Glue's own client of another engine reads what we have written.
    assert answers(trino, "glue.finance") == expected(filled)


def test_athena_takes_the_printed_definitions(lake: Bucket, moto: Moto) -> None:
    """moto keeps statements and checks no SQL: they can be sent one by one, which is all that this shows."""
    printed = run(
        "query_lake", "ddl", "--engine", "athena", "--lake", lake.url, env=lake.env, check=False
    ).stdout
    athena = moto.client("athena")
    sent = statements(printed)
    assert len(sent) >= len(TABLES)
    for statement in sent:
        query = athena.start_query_execution(
            QueryString=statement, ResultConfiguration={"OutputLocation": f"{lake.url}/_athena"}
        )["QueryExecutionId"]
        execution = athena.get_query_execution(QueryExecutionId=query)["QueryExecution"]
        assert (execution["Query"], execution["Status"]["State"]) == (statement, "SUCCEEDED")


def test_a_catalog_that_is_away_is_asked_again_later(lake: Bucket) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    done = register(lake, f"thrift://{nobody}", "finance", check=False)
    assert done.exit_code == 75
    assert f"the Hive metastore thrift://{nobody} does not answer" in done.stderr
    away = {"AWS_ENDPOINT_URL_GLUE": f"http://{nobody}", "AWS_RETRY_SECONDS": "1"}
    done = register(lake, "glue", "finance", env=away, check=False)
    assert done.exit_code == 75
    assert "AWS Glue does not answer" in done.stderr


@contextlib.contextmanager
def glue_that_refuses(kind: str) -> Iterator[tuple[str, list[str]]]:
    """Serve a Glue that refuses everything; give its address and what it was asked."""
    asked: list[str] = []

    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.headers["X-Amz-Target"])
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps({"__type": kind, "Message": "no"}).encode()
            self.send_response(400)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()


def test_glue_is_asked_again_when_it_is_busy_and_not_when_it_denies(lake: Bucket) -> None:
    for kind, exit_code, is_repeated in (
        ("ThrottlingException", 75, True),
        ("AccessDeniedException", 78, False),
    ):
        with glue_that_refuses(kind) as (url, asked):
            env = {"AWS_ENDPOINT_URL_GLUE": url, "AWS_RETRY_SECONDS": "1"}
            done = register(lake, "glue", "finance", env=env, check=False)
        assert (done.exit_code, set(asked)) == (exit_code, {"AWSGlue.GetDatabase"}), done.stderr
        assert (len(asked) > 1) == is_repeated
        assert f"AWS Glue refuses GetDatabase with 400 {kind}: no" in done.stderr


class WebServer(StreamRequestHandler):
    """Answers whatever it is told."""

    def handle(self) -> None:
        """Answer before the request has ended."""
        self.request.recv(1)
        self.wfile.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_what_only_a_person_can_change_is_said_in_one_sentence(lake: Bucket) -> None:
    with ThreadingTCPServer(("127.0.0.1", 0), WebServer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        done = register(lake, f"thrift://127.0.0.1:{server.server_address[1]}", "finance", check=False)
        server.shutdown()
    assert (done.exit_code, done.stdout.count("\n")) == (78, 1), done.stderr
    assert "is not a Hive metastore" in done.stderr
    assert "RpcInfo" not in done.stderr
    for wrong, said in (("hive", "use thrift://host:9083 or glue"), ("http://host", "is not a catalog")):
        done = register(lake, wrong, "finance", check=False)
        assert done.exit_code == 2
        assert said in done.stderr
    done = register(lake, "glue", "Finance", check=False)
    assert done.exit_code == 2
    assert "use lower-case letters" in done.stderr
