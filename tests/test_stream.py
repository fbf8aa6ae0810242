"""The stream path on real services: Postgres, Debezium in Kafka Connect, Kafka, the consumer."""

import hashlib
import hmac
import json
import signal
import threading
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from support.kafka import TOPIC, Connect, Kafka
from support.process import free_port
from support.services import Database, Postgres, wait_until
from support.stream import (
    assert_same_effects,
    consume,
    consumer_flags,
    effects,
    envelope,
    invoice,
    lose_slot,
    start_consumer,
    traffic,
)
from support.tasks import run, start


def count(database: Database, table: str = "risk.decisions") -> int:
    return database.sql(f"select count(*) from {table}")[0][0]


@pytest.fixture
def topic(kafka: Kafka, database: Database) -> str:
    """Give each test a topic of its own with three partitions."""
    return kafka.create_topic(f"{database.name}.invoices", partitions=3)


def test_a_topic_is_decided_once_and_a_second_run_finds_nothing(
    kafka: Kafka, database: Database, topic: str
) -> None:
    kafka.produce(topic, traffic(11, 3000, partitions=3))
    done = consume(kafka, database, topic)
    assert done.result["decisions"] == count(database)
    assert done.result["duplicates"] > 0
    inserts = database.sql("select count(*), count(distinct invoice_id) from risk.decisions where op = 'c'")
    assert inserts[0][0] == inserts[0][1]
    before = effects(database)
    assert consume(kafka, database, topic).result["decisions"] == 0
    assert_same_effects(before, effects(database))
    figures = database.sql("""
        select coalesce(sum(issued_usd), 0), coalesce(sum(flagged_count), 0) from risk.business_days""")[0]
    expected = database.sql("""
        select sum(amount_cents) / 100.0, sum(case when status in ('review', 'block') then
            case when receiver_id = issuer_id or receiver_id is null then 1 else 2 end else 0 end)
        from risk.current_decisions where status <> 'withdrawn'""")[0]
    assert figures == expected
    database.sql("select risk.roll_up()")
    assert_same_effects(before, effects(database))
    replayed = run("invoice_consumer", "replay", "--decisions", database.url(), env=database.env())
    assert (replayed.result["decisions"], replayed.result["differences"]) == (count(database), 0)


def test_a_replay_notices_a_decision_that_was_tampered_with(
    kafka: Kafka, database: Database, topic: str
) -> None:
    kafka.produce(topic, traffic(12, 300, partitions=3))
    consume(kafka, database, topic)
    database.sql("""update risk.decisions set score = score + 1
        where (partition, log_offset) in
            (select partition, log_offset from risk.decisions where score < 90 limit 1)""")
    done = run("invoice_consumer", "replay", "--decisions", database.url(), env=database.env(), check=False)
    assert (done.exit_code, done.result["differences"]) == (65, 1)


def test_rules_are_reloaded_when_the_file_changes(
    kafka: Kafka, database: Database, topic: str, tmp_path
) -> None:
    text = (
        "[thresholds]\nreview = 40\nblock = 80\n"
        "[[rule]]\nid = '{}'\nscore = 50\nreason = 'r'\nwhen = 'amount > -1'\n"
    )
    rules = tmp_path / "rules.toml"
    rules.write_text(text.format("first"))
    task = start_consumer(kafka, database, topic, "--rules", rules)
    try:
        kafka.produce(topic, traffic(13, 20, partitions=3))
        wait_until(lambda: count(database) > 15)
        rules.write_text("[thresholds]\nnonsense")
        wait_until(lambda: "line 2" in task.stderr_so_far())
        rules.write_text(text.format("second"))
        wait_until(lambda: "rules reloaded" in task.stderr_so_far())
        kafka.produce(topic, [(0, None, envelope("c", None, invoice(9_999, 1, 1, 2, 5), 10**9, 1))])
        wait_until(lambda: database.sql("select rules->0->>'id' from risk.decisions where invoice_id = 9999"))
    finally:
        task.send_signal(signal.SIGTERM)
        task.finish()
    assert database.sql("select rules->0->>'id' from risk.decisions where invoice_id = 9999") == [("second",)]
    assert count(database, "risk.rule_sets") == 2
    replayed = run("invoice_consumer", "replay", "--decisions", database.url(), env=database.env())
    assert (replayed.result["rule_sets"], replayed.result["differences"]) == (2, 0)


class Webhook(BaseHTTPRequestHandler):
    """Refuse every third request; remember the others."""

    seen: ClassVar[list[tuple[Message, bytes]]] = []
    tries = 0

    def do_POST(self) -> None:
        """Take a notification."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).tries += 1
        refused = type(self).tries % 3 == 1
        if not refused:
            # Before the answer, or the next request could be noted first.
            self.seen.append((self.headers, body))
        self.send_response(503 if refused else 204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def webhook() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Webhook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/hook"
    server.shutdown()


def test_changes_of_status_reach_the_webhook_and_the_topic_and_the_metrics_say_so(
    kafka: Kafka, database: Database, topic: str, webhook: str
) -> None:
    notes = kafka.create_topic(f"{topic}.notes")
    kafka.produce(topic, traffic(14, 300, partitions=3))
    port, secret = free_port(), "s3cret"
    flags = consumer_flags(kafka, database, topic, "--webhook-url", webhook, "--notify-topic", notes,
                           "--listen", f"127.0.0.1:{port}", "--slot-source", database.url())  # fmt: skip
    task = start("invoice_consumer", *flags, env=database.env() | {"WEBHOOK_SECRET": secret})

    def get(path: str) -> str:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.read().decode()

    try:
        wait_until(lambda: count(database) > 200)
        undelivered = "risk.notifications where webhook_at is null or topic_at is null"
        wait_until(lambda: count(database, undelivered) == 0)
        metrics = get("/metrics")
        assert get("/health") == "healthy\n"
        assert get("/ready") == "ready\n"
        with pytest.raises(HTTPError):
            get("/nothing")
    finally:
        task.send_signal(signal.SIGTERM)
        done = task.finish()
    assert done.exit_code == 0, done.stderr
    assert done.seconds < 60
    outbox = database.sql("select id, invoice_id, to_status from risk.notifications order by id")
    assert len(outbox) > 3
    bodies = [json.loads(body) for _, body in Webhook.seen]
    assert [(body["id"], body["invoice_id"], body["to"]) for body in bodies] == outbox
    for headers, body in Webhook.seen:
        stamp, signature = (part.split("=")[1] for part in headers["X-Signature"].split(","))
        expected = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
        assert hmac.compare_digest(signature, expected)
    assert {json.loads(message.value())["id"] for message in kafka.read(notes)} == {row[0] for row in outbox}
    decided = sum(
        int(line.split()[1]) for line in metrics.splitlines() if line.startswith("risk_decisions_total{")
    )
    assert decided == count(database)
    for name in ("risk_lag_messages{", "risk_receipt_to_decision_seconds_bucket", "risk_rules_fired_total{",
                 "risk_slot_lag_bytes", "risk_rebalances_total"):  # fmt: skip
        assert name in metrics
    assert secret not in done.stderr


def test_sigterm_drains_within_ten_seconds(kafka: Kafka, database: Database, topic: str) -> None:
    kafka.produce(topic, traffic(15, 2000, partitions=3))
    task = start_consumer(kafka, database, topic, "--batch-max", 50)
    wait_until(lambda: count(database) > 100)
    task.send_signal(signal.SIGTERM)
    done = task.finish(timeout=10)
    assert done.exit_code == 0, done.stderr
    assert done.result["decisions"] == count(database)


def test_from_the_sources_commit_to_the_decision(kafka: Kafka, database: Database) -> None:
    """The seeds' own walk: register, insert customers and an invoice, see the decision."""
    with Connect(kafka, database) as connect:
        first = connect.register()
        assert first.returncode == 0, first.stderr
        assert connect.register().returncode == 0
        wait_until(lambda: TOPIC in kafka.admin.list_topics(timeout=5).topics or insert_first(database))
        task = start_consumer(kafka, database, TOPIC)
        try:
            database.sql("insert into invoices values (2, '2026-01-31 09:15', 1, 2, 999.90)")
            wait_until(lambda: database.sql("select 1 from risk.decisions where invoice_id = 2"), timeout=60)
            database.sql("update invoices set receiver_id = 1 where invoice_id = 2")
            wait_until(lambda: count(database, "risk.decisions where invoice_id = 2") == 2)
            database.sql("update invoices set issuer_id = 2 where invoice_id = 2")
            wait_until(lambda: count(database, "risk.decisions where invoice_id = 2") == 4)
            database.sql("delete from invoices where invoice_id = 2")
            wait_until(lambda: count(database, "risk.decisions where invoice_id = 2") == 5)
        finally:
            task.send_signal(signal.SIGTERM)
            task.finish()
        rows = database.sql("""select op, status, amount_cents, issuer_id, receiver_id from risk.decisions
            where invoice_id = 2 order by log_offset""")
        assert rows == [
            ("c", "approve", 99_990, 1, 2),
            ("u", "block", 99_990, 1, 1),
            ("d", "withdrawn", 99_990, 1, 1),
            ("c", "approve", 99_990, 2, 1),
            ("d", "withdrawn", 99_990, 2, 1),
        ]
        assert database.sql(
            "select committed_at is not null, committed_at < decided_at from risk.decisions"
        ) == [(True, True)] * count(database)


def insert_first(database: Database) -> bool:
    """Give the connector something to write, which makes the topic."""
    database.sql("insert into customers values (1, 'A'), (2, 'B') on conflict do nothing")
    database.sql("insert into invoices values (1, '2026-01-30', 1, 2, 5.00) on conflict do nothing")
    return False


def test_a_database_of_another_topic_is_refused(kafka: Kafka, database: Database, topic: str) -> None:
    kafka.produce(topic, traffic(16, 5, partitions=3))
    consume(kafka, database, topic)
    done = run("invoice_consumer", *consumer_flags(kafka, database, "other"), env=database.env(), check=False)
    assert done.exit_code == 78
    assert topic in done.result["error"]


def test_a_topic_that_comes_later_is_found(kafka: Kafka, database: Database) -> None:
    """The service starts before the connector is registered, as in the compose stack."""
    topic, port = f"{database.name}.later", free_port()
    task = start_consumer(kafka, database, topic, "--listen", f"127.0.0.1:{port}")
    try:
        wait_until(lambda: "does not exist yet" in task.stderr_so_far())
        assert run("invoice_consumer", "health", f"127.0.0.1:{port}").result["healthy"]
        kafka.create_topic(topic)
        kafka.produce(topic, traffic(17, 20))
        wait_until(lambda: count(database) > 10)
    finally:
        task.send_signal(signal.SIGTERM)
        task.finish()
    asked = run("invoice_consumer", "health", f"127.0.0.1:{port}", check=False)
    assert asked.exit_code == 75


def test_explain_says_why_from_the_database(kafka: Kafka, database: Database, topic: str) -> None:
    def change(op: str, before: dict | None, after: dict, lsn: int) -> tuple[int, None, bytes]:
        return 0, None, envelope(op, before, after, lsn, 10**15 + lsn)

    first, to_itself = invoice(7, 10**15, 1, 2, 500), invoice(7, 10**15, 1, 1, 500)
    kafka.produce(topic, [change("c", None, first, 10), change("u", first, to_itself, 20)])
    consume(kafka, database, topic)
    flags = ("--decisions", database.url(), "--explain")
    done = run("invoice_consumer", *flags, 7, env=database.env())
    # The latest decision, not the first.
    assert (done.result["decision"], done.result["score"]) == ("block", 100)
    (line,) = (line for line in done.stderr.splitlines() if "+ self_invoice" in line)
    assert "a business invoices itself" in line
    assert "Invoice 7 from 1 to 1 of 5.00: block" in done.stderr
    assert "issuer_history" in done.stderr
    assert run("invoice_consumer", *flags, 8, env=database.env(), check=False).exit_code == 2


def test_a_lost_slot_is_reported_as_a_gap(kafka: Kafka, database: Database, topic: str) -> None:
    with Postgres(settings={"max_slot_wal_keep_size": "0"}) as server:
        source = server.create_database()
        source.sql("select pg_create_logical_replication_slot('invoice_platform', 'pgoutput')")
        lose_slot(source)
        flags = consumer_flags(kafka, source, topic, "--slot-source", source.url())
        task = start("invoice_consumer", *flags, env=source.env())
        try:
            wait_until(lambda: "GAP: the replication slot is lost" in task.stderr_so_far())
        finally:
            task.send_signal(signal.SIGTERM)
            task.finish()
