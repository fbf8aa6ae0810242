"""The table's later home: DynamoDB, filled from Postgres, kept equal by change events, the same API."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from support.api import Api, add_business_indexes, add_invoices, decide, flags_for
from support.dynamodb import DynamoDB
from support.kafka import Kafka
from support.services import Database, Postgres, wait_until
from support.tasks import Result, Task, run, start

# A position no lower than that of the change before it, and the transaction.
POSITION = """select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::int8 - 1,
    pg_current_xact_id()::text::int8"""


@pytest.fixture
def source(postgres: Postgres) -> Iterator[Database]:
    """Give each test a database with 300 invoices, odd rows and decisions."""
    database = postgres.create_database()
    add_invoices(database, 300)
    add_business_indexes(database)
    database.sql("insert into invoices values (900, '2026-02-01 10:00:00.123456', null, 3, -12345678.90)")
    database.sql("insert into invoices values (-5, '1969-12-31 23:59:59.999999', 4, 4, 0)")
    decide(database, 7, 1, "review", 55, [{"id": "r", "score": 55, "reason": "because"}])
    decide(database, 8, 2, "approve", 0, [])
    yield database
    database.drop()


class Home:
    """The tables of one test, and commands on them."""

    def __init__(self, dynamodb: DynamoDB, source: Database) -> None:
        """Name the tables after the database."""
        self.dynamodb, self.source = dynamodb, source
        self.table = source.name
        self.flags = ["--dynamodb-table", self.table]
        self.env = dynamodb.env() | source.env()

    def run(self, action: str, *more: object, check: bool = True) -> Result:
        """Run one command to its end."""
        flags = [*self.flags, "--source", self.source.url(), *more]
        return run("invoice_api", "dynamodb", action, *flags, env=self.env, check=check)

    def sink(self, kafka: Kafka, topic: str, group: str = "g") -> Task:
        """Start a sink."""
        stream = ["--brokers", kafka.bootstrap, "--topic", topic, "--group", f"{topic}-{group}"]
        flags = [*self.flags, "--source", self.source.url(), *stream, "--names-every-seconds", 1]
        return start("invoice_api", "dynamodb", "sink", *flags, env=self.env)

    def api(self, folder: Path, *more: object) -> Api:
        """Make an API that reads in DynamoDB."""
        folder.mkdir(exist_ok=True)
        flags = [*flags_for(self.source, folder / "lake"), "--store", "dynamodb", *self.flags, *more]
        return Api(flags, self.env, folder)

    def item(self, number: int) -> dict:
        """Read an item with Amazon's own client."""
        found = self.dynamodb.client.get_item(
            TableName=self.table, Key={"invoice_id": {"N": str(number)}}, ConsistentRead=True
        )
        return found.get("Item", {})


@pytest.fixture
def home(dynamodb: DynamoDB, source: Database) -> Home:
    """Give each test tables of its own."""
    return Home(dynamodb, source)


def change(
    connection: psycopg.Connection, number: int, statement: str, *values: object, op: str = "u"
) -> bytes:
    """Change an invoice and return the event that the connector would send."""
    connection.execute("begin")
    connection.execute(statement, values)
    [(lsn, xid)] = connection.execute(POSITION).fetchall()
    connection.execute("commit")
    source = {"lsn": int(lsn), "txId": xid, "ts_ms": int(time.time() * 1000)}
    row = {"invoice_id": number}
    rows = {"before": None if op == "c" else row, "after": None if op == "d" else row}
    return json.dumps({"op": op, **rows, "source": source}).encode()


def stop(task: Task) -> Result:
    """Stop a sink as an operator would."""
    task.send_signal(signal.SIGTERM)
    done = task.finish(20)
    assert done.exit_code == 0, done.stderr
    return done


def test_the_same_api_from_dynamodb_as_from_postgres(home: Home, source: Database, tmp_path: Path):
    assert home.run("load").result["rows"] == 302
    assert home.run("compare").result["compared"] == 302
    (tmp_path / "postgres").mkdir()
    postgres = Api(flags_for(source, tmp_path / "lake"), source.env(), tmp_path / "postgres")
    with postgres, home.api(tmp_path / "dynamodb") as other:
        paths = [f"/v1/invoices/{number}" for number in (1, 7, 8, 300, 900, -5, 301)]
        paths += ["/v1/businesses/3/months", "/v1/businesses/77/months"]
        for side in ("issued", "received", "both"):
            page = f"/v1/businesses/4/invoices?side={side}&limit=7"
            while page:
                paths.append(page)
                page = postgres.get(page).json["next"]
        assert len(paths) > 20
        for path in paths:
            one, two = postgres.get(path), other.get(path)
            assert (one.status, one.body) == (two.status, two.body), path
            assert one.headers.get("etag") == two.headers.get("etag")


def test_a_load_can_be_repeated_and_a_difference_is_found(home: Home, source: Database):
    home.run("load")
    home.run("load", "--after", 250)
    client = home.dynamodb.client
    key = {"invoice_id": {"N": "10"}}
    client.update_item(
        TableName=home.table,
        Key=key,
        UpdateExpression="set amount = :a",
        ExpressionAttributeValues={":a": {"S": "0.11"}},
    )
    client.delete_item(TableName=home.table, Key={"invoice_id": {"N": "11"}})
    client.put_item(TableName=home.table, Item={"invoice_id": {"N": "12000"}, "amount": {"S": "1.00"}})
    source.sql("update customers set customer_name = 'Renamed' where customer_id = 3")
    done = home.run("compare", "--settle-seconds", 0, check=False)
    assert done.exit_code == 65
    found = {row["invoice_id"]: row["what"] for row in done.result["examples"]}
    assert found == {10: "amount", 11: "missing in DynamoDB", 12000: "not in Postgres"}
    assert done.result["names_differing"] == 1


def test_a_load_waits_for_transactions_that_wrote_before_it(home: Home, source: Database, kafka: Kafka):
    """Their changes have low positions and come late: loaded rows must not be taken for newer."""
    topic = kafka.create_topic(f"slow-{source.name}")
    with source.connect() as slow:
        slow.execute("begin")
        slow.execute("update invoices set amount_usd = 777 where invoice_id = 50")
        [(lsn, xid)] = slow.execute(POSITION).fetchall()
        add_invoices(source, 50, 2000)
        impatient = home.run("load", "--transaction-wait-seconds", 0, check=False)
        assert impatient.exit_code == 75
        assert "transaction" in impatient.result["error"]
        load = start("invoice_api", "dynamodb", "load", *home.flags, "--source", source.url(), env=home.env)
        time.sleep(0.5)
        assert load.poll() is None, "it must wait"
        slow.execute("commit")
    assert load.finish().exit_code == 0
    assert home.item(50)["amount"]["S"] == "777.00"
    assert int(home.item(50)["lsn"]["N"]) > int(lsn)
    late = {"op": "u", "before": None, "after": {"invoice_id": 50}, "source": {"lsn": int(lsn), "txId": xid}}
    kafka.produce(topic, [(0, b"", json.dumps(late).encode())])
    sink = home.sink(kafka, topic)
    assert home.run("compare").exit_code == 0
    stop(sink)


def test_load_sinks_and_a_crash_during_changes_end_equal(home: Home, source: Database, kafka: Kafka):
    topic = kafka.create_topic(f"race-{source.name}")
    sinks = [home.sink(kafka, topic, "a"), home.sink(kafka, topic, "b")]
    sent: list[bytes] = []

    def write() -> None:
        with source.connect() as connection:
            for step in range(1, 240):
                number = 1 + step % 40
                if step % 11 == 0:
                    sent.append(
                        change(
                            connection, number, "delete from invoices where invoice_id = %s", number, op="d"
                        )
                    )
                elif step % 5 == 0:
                    upsert = (
                        "insert into invoices values (%s, '2026-03-01', 1, 2, %s)"
                        " on conflict (invoice_id) do update set amount_usd = excluded.amount_usd"
                    )
                    sent.append(change(connection, number, upsert, number, step, op="c"))
                else:
                    update = "update invoices set amount_usd = %s, issuer_id = null where invoice_id = %s"
                    sent.append(change(connection, number, update, step, number))
                kafka.produce(topic, [(0, b"", sent[-1])])
                if step % 9 == 0:
                    # After a crash the connector sends again what it had sent.
                    kafka.produce(topic, [(0, b"", message) for message in sent[-12:]])
                if step % 30 == 0:
                    decide(source, 100 + step, 10 + step, "block", 90, [])

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(0.5)
    sinks[0].kill_now()
    loaded = home.run("load")
    sinks[0] = home.sink(kafka, topic, "a")
    writer.join()
    # One event more than what is needed, very old.
    kafka.produce(topic, [(0, b"", sent[0])])
    source.sql("update customers set customer_name = 'Renamed' where customer_id = 3")
    compared = home.run("compare", "--settle-seconds", 20, check=False)
    assert compared.exit_code == 0, compared.result
    assert loaded.result["rows"] > 200
    assert home.item(101)["amount"]["S"] == "1.01"
    assert all(sink.poll() is None for sink in sinks)
    facts = [stop(sink).result for sink in sinks]
    assert sum(fact["decisions"] for fact in facts) > 0
    assert facts[1]["events"] > 239
    assert all(fact["undecodable"] == 0 for fact in facts)


def test_a_change_reaches_the_api_through_the_sink(
    home: Home, source: Database, kafka: Kafka, tmp_path: Path
):
    topic = kafka.create_topic(f"fresh-{source.name}")
    home.run("load")
    sink = home.sink(kafka, topic)
    stream = ("--ttl-seconds", 3600, "--brokers", kafka.bootstrap, "--topic", topic)
    with home.api(tmp_path / "api", *stream) as api, source.connect() as connection:
        assert api.invoice(20).json["amount_usd"] == "0.20"
        time.sleep(1)
        update = "update invoices set amount_usd = 20.20 where invoice_id = 20"
        kafka.produce(topic, [(0, b"", change(connection, 20, update))])
        wait_until(lambda: api.invoice(20).json["amount_usd"] == "20.20", 10, "the new row")
        delete = "delete from invoices where invoice_id = 21"
        assert api.invoice(21).status == 200
        kafka.produce(topic, [(0, b"", change(connection, 21, delete, op="d"))])
        wait_until(lambda: api.invoice(21).status == 404, 10, "the deletion")
        decide(source, 22, 70, "block", 90, [])
        wait_until(lambda: api.invoice(22).json["decision"], 10, "the decision")
        before = api.metric("source_loads_total")
        assert [api.invoice(number).status for number in (20, 22, 20, 22)] == [200] * 4
        assert api.metric("source_loads_total") == before, "cached again, not waiting for ever"
    stop(sink)


@pytest.mark.faults
def test_dynamodb_hanging_serves_what_is_known_and_the_sink_goes_on_afterwards(
    source: Database, kafka: Kafka, tmp_path: Path
):
    topic = kafka.create_topic(f"hang-{source.name}")
    with DynamoDB() as engine:
        home = Home(engine, source)
        home.run("load")
        sink = home.sink(kafka, topic)
        with home.api(tmp_path / "api", "--ttl-seconds", 1) as api, source.connect() as connection:
            assert api.invoice(20).status == 200
            assert engine.process is not None
            engine.process.send_signal(signal.SIGSTOP)
            try:
                time.sleep(1.5)
                update = "update invoices set amount_usd = 20.20 where invoice_id = 20"
                kafka.produce(topic, [(0, b"", change(connection, 20, update))])
                known = api.invoice(20)
                assert (known.status, known.headers.get("x-stale")) == (200, "true")
                unknown = api.invoice(30)
                assert unknown.status == 503
                assert unknown.seconds < 8
            finally:
                engine.process.send_signal(signal.SIGCONT)
            wait_until(lambda: api.invoice(20).json["amount_usd"] == "20.20", 30, "the new row")
        assert home.run("compare", "--settle-seconds", 10).exit_code == 0
        stop(sink)
