"""Worst days through the connector as shipped: the consumer, the API's caches and DynamoDB all end right."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path

import pytest

from support.api import Api, Redis, add_invoices, flags_for
from support.dynamodb import DynamoDB
from support.kafka import TOPIC, Connect, Kafka
from support.services import SUPERUSER, Database, Postgres, wait_until
from support.stream import consume, consumer_flags
from support.tasks import Result, Task, run, start

PATIENCE_SECONDS = 120


def sent(kafka: Kafka) -> list[dict]:
    """Return all events of the topic, without tombstones."""
    return [json.loads(message.value()) for message in kafka.read(TOPIC) if message.value()]


def wait_for_events(kafka: Kafka, count: int) -> list[dict]:
    """Wait until the connector has sent this many events."""
    wait_until(lambda: TOPIC in kafka.admin.list_topics(timeout=5).topics, PATIENCE_SECONDS, "the topic")
    wait_until(lambda: len(sent(kafka)) >= count, PATIENCE_SECONDS, f"{count} events")
    return sent(kafka)


class Followers:
    """An API with memory and Redis, and a table in DynamoDB with its sink, all on one source."""

    def __init__(
        self, stack: ExitStack, kafka: Kafka, source: Database, folder: Path, *, load: bool = True
    ) -> None:
        """Load DynamoDB and start everything but the sink and the consumer."""
        self.kafka, self.source = kafka, source
        self.dynamodb = stack.enter_context(DynamoDB())
        self.env = self.dynamodb.env() | source.env()
        self.table = ["--dynamodb-table", source.name, "--source", source.url()]
        if load:
            self.dynamo("load")
        self.sink: Task | None = None
        redis = stack.enter_context(Redis())
        stream = ("--brokers", kafka.bootstrap, "--ttl-seconds", 3600, "--negative-ttl-seconds", 3600)
        more = ("--redis", redis.url, "--redis-timeout-ms", 1000)
        flags = flags_for(source, folder / "lake", *stream, *more)
        self.api = stack.enter_context(Api(flags, source.env(), folder))
        stack.callback(self.kill_sink)

    def dynamo(self, action: str, *more: object, check: bool = True) -> Result:
        """Run one command on DynamoDB to its end."""
        return run("invoice_api", "dynamodb", action, *self.table, *more, env=self.env, check=check)

    def start_sink(self, *more: object) -> Task:
        """Start the sink."""
        stream = ["--brokers", self.kafka.bootstrap, "--topic", TOPIC, "--group", f"{self.source.name}-sink"]
        flags = [*self.table, *stream]
        self.sink = start("invoice_api", "dynamodb", "sink", *flags, *more, env=self.env)
        return self.sink

    def kill_sink(self) -> None:
        """End the sink, if it runs."""
        if self.sink is not None and self.sink.poll() is None:
            self.sink.kill_now()

    def follow(self) -> None:
        """Wait until the API has read the topic to its end."""
        wait_until(lambda: self.api.metric("events_behind") == 0, PATIENCE_SECONDS, "the end of the topic")

    def is_right(self, expected: dict[int, Decimal | None]) -> None:
        """Wait until the API shows these amounts, none for a deleted invoice, and DynamoDB is equal."""

        def shown(number: int) -> Decimal | None:
            answer = self.api.invoice(number)
            return Decimal(answer.json["amount_usd"]) if answer.status == 200 else None

        for number, amount in expected.items():
            wait_until(
                lambda number=number, amount=amount: shown(number) == amount,
                PATIENCE_SECONDS, f"{amount} for invoice {number} in the API",
            )  # fmt: skip
        compared = self.dynamo("compare", "--settle-seconds", 30, check=False)
        assert compared.exit_code == 0, compared.stdout + (self.sink.stderr_so_far() if self.sink else "")


def amounts(decisions: Database) -> dict[int, Decimal]:
    """Return the amounts of all invoices that are decided and not withdrawn."""
    rows = decisions.sql("""select invoice_id, amount_cents / 100.0 from risk.current_decisions
        where status <> 'withdrawn'""")
    return dict(rows)


def invoices(source: Database) -> dict[int, Decimal]:
    """Return the amounts of all invoices in the source."""
    return dict(source.sql("select invoice_id, amount_usd from invoices"))


@pytest.fixture
def stack(database: Database) -> Iterator[ExitStack]:
    """What is entered here is left when the test ends, before its database is dropped."""
    with ExitStack() as entered:
        yield entered


def test_changed_ids_and_truncations_reach_everybody(
    stack: ExitStack, kafka: Kafka, database: Database, tmp_path: Path
) -> None:
    add_invoices(database, 20)
    connect = stack.enter_context(Connect(kafka, database))
    assert connect.register().returncode == 0
    wait_for_events(kafka, 20)
    followers = Followers(stack, kafka, database, tmp_path)
    followers.start_sink()
    followers.follow()
    followers.is_right({1: Decimal("0.01"), 101: None, 2: Decimal("0.02"), 102: None})
    database.sql("update invoices set invoice_id = 101 where invoice_id = 1")
    # The message's key changes too, so the connector sends a deletion and a creation.
    database.sql("update invoices set invoice_id = 102, issuer_id = 9 where invoice_id = 2")
    wait_for_events(kafka, 23)
    followers.is_right({1: None, 101: Decimal("0.01"), 2: None, 102: Decimal("0.02")})
    consume(kafka, database, TOPIC)
    assert amounts(database) == invoices(database)
    database.sql("truncate invoices")
    add_invoices(database, 3, 18)
    events = wait_for_events(kafka, 27)
    assert [event["op"] for event in events[-4:]] == ["t", "c", "c", "c"]
    followers.is_right({101: None, 17: None, 18: Decimal("0.18")})
    assert consume(kafka, database, TOPIC).result["withdrawn"] == 20
    assert amounts(database) == invoices(database)


def test_a_transaction_that_was_open_during_the_snapshot_is_not_lost(
    stack: ExitStack, kafka: Kafka, database: Database, tmp_path: Path
) -> None:
    """Its changes lie below the snapshot's position and are committed after it."""
    add_invoices(database, 5)
    connect = stack.enter_context(Connect(kafka, database))
    first, second, open_one = (stack.enter_context(database.connect()) for _ in range(3))
    first.execute("begin; insert into customers values (1001, 'A')")
    registered = threading.Thread(target=connect.register)
    registered.start()
    # A new slot waits for what runs, twice; what began after the first wait is open when it is ready.
    slot = "select count(*) from pg_stat_activity where wait_event = 'transactionid'"
    wait_until(lambda: database.sql(slot) == [(1,)], PATIENCE_SECONDS, "the slot to wait")
    second.execute("begin; insert into customers values (1002, 'B')")
    first.execute("commit")
    time.sleep(2)
    open_one.execute("begin; update invoices set amount_usd = 77 where invoice_id = 1")
    open_one.execute("update invoices set amount_usd = 78 where invoice_id = 1")
    open_one.execute("delete from invoices where invoice_id = 2")
    second.execute("commit")
    wait_for_events(kafka, 5)
    registered.join()
    # A load would wait for the open transaction.
    followers = Followers(stack, kafka, database, tmp_path, load=False)
    followers.start_sink()
    followers.follow()
    assert [followers.api.invoice(number).json["amount_usd"] for number in (1, 2)] == ["0.01", "0.02"]
    consume(kafka, database, TOPIC)
    open_one.execute("commit")
    events = wait_for_events(kafka, 8)
    read, late = events[0]["source"]["lsn"], [event["source"]["lsn"] for event in events[5:8]]
    assert [event["op"] for event in events] == [*"rrrrruud"]
    assert max(late) < read, "the case that is meant"
    followers.is_right({1: Decimal(78), 2: None})
    consume(kafka, database, TOPIC)
    assert amounts(database) == invoices(database)
    database.sql("update invoices set amount_usd = 79 where invoice_id = 1")
    wait_for_events(kafka, 9)
    followers.is_right({1: Decimal(79)})
    consume(kafka, database, TOPIC)
    assert amounts(database) == invoices(database)


def successor(server: Postgres, source: Database) -> Postgres:
    """Stop a server and start another cluster with the same database in its place, restored from its rows."""
    rows = {table: source.sql(f"select * from {table}") for table in ("customers", "invoices")}
    server.stop()
    other = Postgres()
    password = server.passwords[SUPERUSER]
    other.database(SUPERUSER).sql(f"alter role {SUPERUSER} password '{password}'")
    other.passwords[SUPERUSER] = password
    restored = other.create_database(source.name)
    with restored.connect() as connection, connection.cursor() as cursor:
        for table, values in rows.items():
            places = ", ".join(["%s"] * len(values[0]))
            cursor.executemany(f"insert into {table} values ({places})", values)
    other.stop()
    other.port = server.port
    other.settings["port"] = str(server.port)
    other.start()
    return other


def test_a_planned_move_to_another_cluster(
    stack: ExitStack, kafka: Kafka, database: Database, tmp_path: Path
) -> None:
    """What docs/migrate-source.md says, step by step, under one address."""
    old = stack.enter_context(Postgres())
    source = old.create_database(f"moving_{database.name}")
    add_invoices(source, 20)
    for _ in range(8):
        # The old cluster's log is long, so the new one's positions are smaller.
        source.sql("create table if not exists filler (); drop table filler")
        source.sql("select pg_switch_wal()")
    connect = stack.enter_context(Connect(kafka, source))
    assert connect.register().returncode == 0
    wait_for_events(kafka, 20)
    add_invoices(source, 10, 21)
    wait_for_events(kafka, 30)
    followers = Followers(stack, kafka, source, tmp_path)
    followers.start_sink()
    followers.follow()
    consume(kafka, database, TOPIC)
    followers.is_right({5: Decimal("0.05"), 25: Decimal("0.25")})
    # Nothing is written any more, all is read.
    followers.sink.send_signal(signal.SIGTERM)
    assert followers.sink.finish(20).exit_code == 0
    connect.call("PUT", "stop")
    connect.call("DELETE", "offsets")
    stack.enter_context(successor(old, source))
    assert connect.register().returncode == 0
    snapshot = wait_for_events(kafka, 60)[30:]
    assert {event["op"] for event in snapshot} == {"r"}
    assert consume(kafka, database, TOPIC).result["duplicates"] == 30
    source.sql("update invoices set amount_usd = 99 where invoice_id = 25")
    source.sql("update invoices set amount_usd = 98 where invoice_id = 5")
    source.sql("delete from invoices where invoice_id = 26")
    events = wait_for_events(kafka, 63)
    assert events[-1]["source"]["lsn"] < events[29]["source"]["lsn"], "the case that is meant"
    refused = consume(kafka, database, TOPIC, check=False)
    assert (refused.exit_code, "the log began anew" in refused.stderr) == (78, True), refused.stderr
    accepted = consume(kafka, database, TOPIC, "--accept-new-source")
    assert "from here on the positions are those of a new source" in accepted.stderr
    assert amounts(database) == invoices(source)
    assert consume(kafka, database, TOPIC).result["decisions"] == 0
    sink = followers.start_sink()
    done = sink.finish(60)
    assert (done.exit_code, "another cluster" in done.stderr) == (78, True), done.stderr
    followers.start_sink("--accept-new-source")
    wait_until(lambda: "every item is read again" in followers.sink.stderr_so_far(), PATIENCE_SECONDS)
    followers.is_right({25: Decimal(99), 5: Decimal(98), 26: None, 27: Decimal("0.27")})
    followers.dynamo("load")
    source.sql("update invoices set amount_usd = 97 where invoice_id = 25")
    add_invoices(source, 1, 500)
    wait_for_events(kafka, 65)
    followers.is_right({25: Decimal(97), 500: Decimal(5)})
    consume(kafka, database, TOPIC)
    assert amounts(database) == invoices(source)
    replayed = run("invoice_consumer", "replay", "--decisions", database.url(), env=database.env())
    assert replayed.result["differences"] == 0


def test_columns_that_change_while_the_connector_runs(
    stack: ExitStack, kafka: Kafka, database: Database, tmp_path: Path
) -> None:
    """Right, or a dead letter with its reason."""
    database.sql("""insert into customers values (1, 'A'), (2, 'B');
        insert into invoices values (51, '9999-12-31 23:59:59.999999', 1, 2, 5),
            (52, '1969-12-31 23:59:59.999999', 1, 2, 5), (53, '0001-01-01', 1, 2, 5),
            (54, 'infinity', 1, 2, 5)""")
    connect = stack.enter_context(Connect(kafka, database))
    assert connect.register().returncode == 0
    wait_for_events(kafka, 4)
    database.sql("delete from invoices")
    database.sql("alter table invoices add column note text")
    # Text that does not compress is stored out of line, and an update of another column leaves it there.
    add_invoices(database, 1, 2)
    database.sql("""update invoices set note =
        (select string_agg(md5(n::text), '') from generate_series(1, 900) n) where invoice_id = 2""")
    database.sql("update invoices set amount_usd = 2.5 where invoice_id = 2")
    wait_for_events(kafka, 11)
    database.sql("alter table invoices alter column issue_date type timestamp(3)")
    database.sql("insert into invoices values (3, '2026-03-01 10:00:00.123', 1, 2, 3)")
    wait_for_events(kafka, 12)
    database.sql("alter table invoices alter column issue_date type date")
    database.sql("insert into invoices values (4, '2026-03-01', 1, 2, 4)")
    wait_for_events(kafka, 13)
    database.sql("""alter table invoices alter column issue_date type timestamptz
        using issue_date at time zone 'UTC'""")
    database.sql("insert into invoices values (5, '2026-03-01 10:00:00+02', 1, 2, 5)")
    wait_for_events(kafka, 14)
    database.sql("alter table invoices alter column amount_usd type numeric(20, 4)")
    database.sql("insert into invoices values (6, '2026-03-01 00:00:00+00', 1, 2, 6.5)")
    wait_for_events(kafka, 15)
    database.sql("alter table invoices drop column note")
    database.sql("insert into invoices values (7, '2026-03-01 00:00:00+00', 1, 2, 7)")
    wait_for_events(kafka, 16)
    database.sql("alter table invoices rename column amount_usd to amount")
    database.sql("insert into invoices values (8, '2026-03-01 00:00:00+00', 1, 2, 8)")
    wait_for_events(kafka, 17)
    done = consume(kafka, database, TOPIC)
    assert done.result["dead_letters"] == 2
    assert "amount_usd is missing" in done.stderr
    decided = database.sql("""select invoice_id, amount_cents, issue_date::text from risk.current_decisions
        order by 1""")
    assert decided == [
        (2, 250, "2026-01-01 00:02:00"), (3, 300, "2026-03-01 10:00:00.123"), (4, 400, "2026-03-01 00:00:00"),
        (5, 500, "2026-03-01 08:00:00"), (6, 650, "2026-03-01 00:00:00"), (7, 700, "2026-03-01 00:00:00"),
        (51, 500, "9999-12-31 23:59:59.999999"), (52, 500, "1969-12-31 23:59:59.999999"),
        (53, 500, "0001-01-01 00:00:00"),
    ]  # fmt: skip
    letters = kafka.read(f"{TOPIC}.dead-letters")
    assert json.loads(letters[-1].value())["after"]["invoice_id"] == 8


def test_an_incremental_snapshot_is_told_about_and_a_blocking_one_is_right(
    stack: ExitStack, kafka: Kafka, database: Database
) -> None:
    """With this message key an incremental snapshot sends one row per issuer, and none has a position."""
    add_invoices(database, 100)
    database.sql("create table debezium_signal (id text primary key, type text, data text)")
    database.sql("alter publication invoice_platform add table debezium_signal")
    connect = stack.enter_context(Connect(kafka, database))
    assert connect.register().returncode == 0
    connect.configure({
        "signal.data.collection": "public.debezium_signal",
        "table.include.list": "public.invoices,public.debezium_heartbeat,public.debezium_signal",
    })  # fmt: skip
    wait_for_events(kafka, 100)
    assert consume(kafka, database, TOPIC).result["decisions"] == 100
    # As if the changes of every invoice had been in a gap.
    database.sql("update risk.decisions set amount_cents = amount_cents + 1")

    def signal(kind: str) -> None:
        data = json.dumps({"data-collections": ["public.invoices"], "type": kind})
        database.sql("insert into debezium_signal values (%s, 'execute-snapshot', %s)", kind, data)

    signal("incremental")
    assert len({event["after"]["issuer_id"] for event in wait_for_events(kafka, 110)[100:]}) == 10
    told = consume(kafka, database, TOPIC)
    assert (told.result["decisions"], told.result["dead_letters"]) == (0, 10)
    assert "let the connector send a blocking snapshot instead" in told.stderr
    signal("blocking")
    assert {event["op"] for event in wait_for_events(kafka, 210)[110:]} == {"r"}
    assert consume(kafka, database, TOPIC).result["decisions"] == 100
    assert amounts(database) == invoices(database)


def test_a_large_transaction_and_a_new_slot(
    stack: ExitStack, kafka: Kafka, database: Database, tmp_path: Path
) -> None:
    rows = 100_000
    database.sql("insert into customers select n, 'x' from generate_series(1, 50) n")
    connect = stack.enter_context(Connect(kafka, database))
    assert connect.register().returncode == 0
    database.sql(f"""insert into invoices select n, now(), 1 + n % 50, 1 + n % 49, n
        from generate_series(1, {rows}) n""")
    wait_until(lambda: TOPIC in kafka.admin.list_topics(timeout=5).topics, PATIENCE_SECONDS, "the topic")
    flags = consumer_flags(kafka, database, TOPIC)
    consumer = start("invoice_consumer", *flags, env=database.env())
    stack.callback(consumer.kill_now)
    decided = "select count(*) from risk.decisions"
    wait_until(lambda: database.sql(decided) == [(rows,)], 120, "all rows of the transaction")
    # A slot of another time: the connector goes on with a snapshot.
    connect.call("PUT", "stop")
    active = "select active from pg_replication_slots where slot_name = 'invoice_platform'"
    wait_until(lambda: database.sql(active) == [(False,)], PATIENCE_SECONDS)
    database.sql("select pg_drop_replication_slot('invoice_platform')")
    connect.call("DELETE", "offsets")
    database.sql("update invoices set amount_usd = 7 where invoice_id = 1")
    assert connect.register().returncode == 0
    changed = "select amount_cents, op from risk.current_decisions where invoice_id = 1"
    wait_until(lambda: database.sql(changed) == [(700, "r")], 120, "the snapshot's row")
    wait_until(lambda: len(sent(kafka)) == 2 * rows, 120, "the whole snapshot")
    consumer.kill_now()
    assert consume(kafka, database, TOPIC).result["decisions"] == 0
    assert database.sql(decided) == [(rows + 1,)]
    assert consumer.stderr_so_far().count("state loaded") == 1, "nothing is doubted without a reason"
