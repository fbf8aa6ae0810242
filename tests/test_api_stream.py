"""The API behind the whole stream: Postgres, Debezium in Kafka Connect, Kafka, the caches."""

import http.client
import signal
from pathlib import Path

from support.api import Api, Redis, add_invoices, events_of, flags_for
from support.kafka import TOPIC, Connect, Kafka
from support.services import Database, wait_until
from support.stream import start_consumer

PATIENCE_SECONDS = 15


def test_changes_and_decisions_reach_the_api_through_debezium(
    kafka: Kafka, database: Database, tmp_path: Path
):
    add_invoices(database, 20)
    with Connect(kafka, database) as connect, Redis() as redis:
        registered = connect.register()
        assert registered.returncode == 0, registered.stderr
        wait_until(lambda: TOPIC in kafka.admin.list_topics(timeout=5).topics, 60, "the topic")
        stream = ("--brokers", kafka.bootstrap, "--ttl-seconds", 3600, "--negative-ttl-seconds", 3600)
        more = ("--redis", redis.url, "--redis-timeout-ms", 1000)
        with Api(flags_for(database, tmp_path / "lake", *stream, *more), database.env(), tmp_path) as api:
            # Until the first event it isn't known that the topic is followed.
            wait_until(lambda: api.metric("events_behind") == 0, 30, "the end of the topic")
            assert api.invoice(5).json["amount_usd"] == "0.05"
            assert api.invoice(6).status == 200
            assert api.invoice(500).status == 404
            database.sql("update invoices set amount_usd = 55.55 where invoice_id = 5")
            database.sql("delete from invoices where invoice_id = 6")
            add_invoices(database, 1, 500)
            wait_until(lambda: api.invoice(5).json["amount_usd"] == "55.55", PATIENCE_SECONDS, "the change")
            wait_until(lambda: api.invoice(6).status == 404, PATIENCE_SECONDS, "the deletion")
            wait_until(lambda: api.invoice(500).status == 200, PATIENCE_SECONDS, "the new invoice")
            loads = api.metric("source_loads_total")
            assert [api.invoice(number).status for number in (5, 6, 500)] == [200, 404, 200]
            assert api.metric("source_loads_total") == loads, "cached again"
            consumer = start_consumer(kafka, database, TOPIC)
            feed = http.client.HTTPConnection("127.0.0.1", api.port, timeout=60)
            headers = {"Authorization": f"Bearer {api.token}"}
            feed.request("GET", "/v1/decisions/stream?business_id=9", headers=headers)
            decisions = events_of(feed.getresponse())
            database.sql("insert into invoices values (600, now(), 9, 9, 9.99)")
            decided = next(event for event in decisions if event["invoice_id"] == 600)
            assert decided["status"] in ("review", "block"), "an invoice of a business to itself"
            assert api.invoice(600).json["decision"]["status"] == decided["status"]
            feed.close()
            consumer.send_signal(signal.SIGTERM)
            consumer.finish()


def test_rows_of_the_connectors_snapshot_stay_cacheable(kafka: Kafka, database: Database, tmp_path: Path):
    """The API may run before the connector's first snapshot, whose rows have no transaction."""
    add_invoices(database, 20)
    name = f"snapshot-{database.name}"
    topic = kafka.create_topic(name)
    flags = flags_for(database, tmp_path / "lake", "--brokers", kafka.bootstrap, "--topic", topic)
    with Api([*flags, "--ttl-seconds", 3600], database.env(), tmp_path) as api:
        wait_until(lambda: api.metric("events_behind") == 0, 30, "the end of the topic")
        row = b'{"op":"r","before":null,"after":{"invoice_id":5},"source":{"lsn":99,"txId":null,"ts_ms":1}}'
        kafka.produce(topic, [(0, b"", row)])
        wait_until(lambda: api.metric("events_total") == 1, 30, "the event")
        assert api.invoice(5).status == 200
        loads = api.metric("source_loads_total")
        assert [api.invoice(5).status for _ in range(5)] == [200] * 5
        assert api.metric("source_loads_total") == loads
