"""The stream's worst days: changed ids, truncations, topics and sources that begin anew."""

import signal
import time
from pathlib import Path

import pytest
from confluent_kafka import Producer

from support.kafka import Kafka
from support.services import Database, wait_until
from support.stream import (
    START_US,
    consume,
    effects,
    envelope,
    invoice,
    last_line,
    lines,
    start_consumer,
)
from support.tasks import Result, run


def decide(path: Path, events: list[bytes], *flags: object, exit_code: int = 0) -> Result:
    path.write_bytes(b"".join(event + b"\n" for event in events))
    done = run("invoice_consumer", "--from", path, *flags, check=False)
    assert done.exit_code == exit_code, done.stderr
    return done


def row(number: int, cents: int = 10_000, date_us: int = START_US) -> dict:
    return invoice(number, date_us, 5, 6, cents)


def decided(done: Result) -> list[tuple]:
    return [(line["invoice_id"], line["op"], line["status"]) for line in lines(done)]


def test_a_changed_id_is_withdrawn_and_decided(tmp_path: Path) -> None:
    events = [
        envelope("c", None, row(1), 1000, START_US),
        envelope("u", row(1), row(2), 2000, START_US),
        envelope("u", row(1), row(2), 2000, START_US),
    ]
    done = decide(tmp_path / "e", events)
    assert decided(done) == [(1, "c", "approve"), (1, "d", "withdrawn"), (2, "u", "approve")]
    assert last_line(done)["duplicates"] == 2


def test_a_truncation_withdraws_what_was_there_and_nothing_that_came_later(tmp_path: Path) -> None:
    truncation = envelope("t", None, None, 50, START_US)
    events = [
        envelope("c", None, row(2), 20, START_US),
        envelope("c", None, row(1), 30, START_US),
        truncation,
        envelope("c", None, row(3), 60, START_US),
        truncation,
    ]
    assert decided(decide(tmp_path / "e", events))[2:] == [
        (1, "t", "withdrawn"), (2, "t", "withdrawn"), (3, "c", "approve"),
    ]  # fmt: skip


def test_a_truncation_before_everything_that_is_known_is_told(tmp_path: Path) -> None:
    events = [envelope("c", None, row(1), 100, START_US), envelope("t", None, None, 50, START_US)]
    done = decide(tmp_path / "e", events)
    assert (last_line(done)["withdrawn"], last_line(done)["dead_letters"]) == (0, 1)
    assert "another source's" in done.stderr


@pytest.mark.parametrize(
    "date_us", [253_402_214_400_000_000, 1_769_850_900_000, -1, 0, -62_135_596_800_000_000]
)
def test_a_date_of_any_size_is_in_microseconds(tmp_path: Path, date_us: int) -> None:
    events = [envelope("c", None, row(1, date_us=date_us), 10, START_US)]
    in_days = decide(tmp_path / "e", events)
    assert last_line(in_days)["dead_letters"] == 0
    refused = decide(tmp_path / "e", [envelope("c", None, row(1, date_us=260 * 10**15), 10, START_US)])
    assert "outside the years 1 to 9999" in refused.stderr


def test_digits_are_an_amount_or_refused_as_the_setting_says(tmp_path: Path) -> None:
    events = [envelope("c", None, row(1) | {"amount_usd": "1234"}, 10, START_US)]
    assert next(lines(decide(tmp_path / "e", events)))["features"]["amount"] == 123_400
    precise = decide(tmp_path / "e", events, "--decimal-mode", "precise")
    assert last_line(precise)["dead_letters"] == 1
    assert "decimal.handling.mode=string" in precise.stderr


def test_a_source_that_begins_anew_is_refused_until_it_is_accepted(tmp_path: Path) -> None:
    events = [
        envelope("c", None, row(1, 1_000), 1000, START_US),
        envelope("u", row(1, 2_000), row(1, 2_000), 500, START_US),
        envelope("c", None, row(9, 2_000), 510, START_US),
    ]
    refused = decide(tmp_path / "e", events, exit_code=78)
    assert "position 500" in refused.stderr
    assert "--accept-new-source" in refused.stderr
    accepted = decide(tmp_path / "e", events, "--accept-new-source")
    assert decided(accepted) == [(1, "c", "approve"), (1, "u", "approve"), (9, "c", "approve")]


def creations(first: int, count: int, lsn: int = 0) -> list[tuple[int, bytes | None, bytes]]:
    return [
        (0, None, envelope("c", None, row(n), lsn or n * 10, START_US)) for n in range(first, first + count)
    ]


def test_a_topic_that_was_made_again_is_refused_until_it_is_accepted(
    kafka: Kafka, database: Database
) -> None:
    topic = kafka.create_topic(f"{database.name}.invoices")
    kafka.produce(topic, creations(1, 300))
    assert consume(kafka, database, topic).result["decisions"] == 300
    for first, count in ((1001, 100), (2001, 500)):
        kafka.delete_topic(topic)
        wait_until(lambda: topic not in kafka.admin.list_topics(timeout=5).topics)
        kafka.create_topic(topic)
        kafka.produce(topic, [*creations(300, 1), *creations(first, count)])
        refused = consume(kafka, database, topic, check=False)
        assert (refused.exit_code, "made again" in refused.stderr) == (78, True)
        accepted = consume(kafka, database, topic, "--accept-new-topic").result
        assert (accepted["decisions"], accepted["duplicates"]) == (count, 1)
        assert consume(kafka, database, topic).result["decisions"] == 0
    replayed = run("invoice_consumer", "replay", "--decisions", database.url(), env=database.env())
    assert replayed.result["differences"] == 0


def test_a_topic_and_its_decisions_survive_changed_ids_and_a_truncation(
    kafka: Kafka, database: Database
) -> None:
    topic = kafka.create_topic(f"{database.name}.invoices")
    moved = envelope("u", row(7), row(1007), 5_000, START_US)
    truncation = envelope("t", None, None, 6_000, START_US)
    kafka.produce(topic, [*creations(1, 50), (0, None, moved), (0, None, truncation), *creations(900, 10)])
    assert consume(kafka, database, topic).result["withdrawn"] == 51
    alive = database.sql("select count(*) from risk.current_decisions where status <> 'withdrawn'")
    assert alive == [(10,)]
    before = effects(database)
    kafka.produce(topic, [(0, None, truncation)])
    consume(kafka, database, topic)
    assert effects(database) == before
    kafka.produce(topic, [(0, None, envelope("t", None, None, 8_000, START_US))])
    told = consume(kafka, database, topic).result
    assert (told["withdrawn"], told["dead_letters"]) == (0, 1)
    replayed = run("invoice_consumer", "replay", "--decisions", database.url(), env=database.env())
    assert replayed.result["differences"] == 0


def test_retention_that_passed_the_stored_offset_is_told(kafka: Kafka, database: Database) -> None:
    topic = kafka.create_topic(f"{database.name}.invoices")
    kafka.produce(topic, creations(1, 80))
    assert consume(kafka, database, topic).result["decisions"] == 80
    kafka.produce(topic, creations(81, 150))
    kafka.remove_messages(topic, 200)
    refused = consume(kafka, database, topic, check=False)
    assert refused.exit_code == 78
    assert "has lost the 120 messages from offset 80 on" in refused.stderr
    assert consume(kafka, database, topic, "--accept-gap").result["decisions"] == 30
    assert consume(kafka, database, topic).result["decisions"] == 0


def test_retention_that_overtakes_a_running_consumer_is_told(kafka: Kafka, database: Database) -> None:
    topic = kafka.create_topic(f"{database.name}.invoices")
    kafka.produce(topic, creations(1, 80))
    consumer = start_consumer(kafka, database, topic)
    try:
        wait_until(lambda: database.sql("select count(*) from risk.decisions") == [(80,)])
        consumer.send_signal(signal.SIGSTOP)
        kafka.produce(topic, creations(81, 150))
        kafka.remove_messages(topic, 200)
        consumer.send_signal(signal.SIGCONT)
        done = consumer.finish(60)
    finally:
        consumer.kill_now()
    # What was fetched before the stop counts as read.
    assert done.exit_code == 78, done.stderr
    assert "were removed (retention) before they were decided" in done.stderr
    assert database.sql("select max(log_offset) < 200 from risk.decisions") == [(True,)]


def test_a_topic_that_is_made_again_under_a_running_consumer_is_told(
    kafka: Kafka, database: Database
) -> None:
    topic = kafka.create_topic(f"{database.name}.invoices")
    kafka.produce(topic, creations(1, 300))
    consumer = start_consumer(kafka, database, topic)
    try:
        wait_until(lambda: database.sql("select count(*) from risk.decisions") == [(300,)])
        kafka.delete_topic(topic)
        wait_until(lambda: topic not in kafka.admin.list_topics(timeout=5).topics)
        kafka.create_topic(topic)
        kafka.produce(topic, creations(301, 500))
        done = consumer.finish(60)
    finally:
        consumer.kill_now()
    assert (done.exit_code, "made again" in done.stderr) == (78, True), done.stderr
    consume(kafka, database, topic, "--accept-new-topic")
    decided = database.sql("select count(*), count(distinct invoice_id) from risk.decisions")
    assert decided == [(800, 800)]


def test_a_steady_stream_is_not_doubted(kafka: Kafka, database: Database) -> None:
    """The ends of logs are asked for every second, so a position lies behind the known end all the time."""
    topic = kafka.create_topic(f"{database.name}.invoices")
    consumer = start_consumer(kafka, database, topic)
    try:
        for turn in range(60):
            kafka.produce(topic, creations(1 + turn * 10, 10))
            time.sleep(0.1)
        wait_until(lambda: database.sql("select count(*) from risk.decisions") == [(600,)])
        assert consumer.stderr_so_far().count("state loaded") == 1
    finally:
        consumer.kill_now()


def test_transactional_messages_leave_holes_that_are_no_gaps(kafka: Kafka, database: Database) -> None:
    topic = kafka.create_topic(f"{database.name}.invoices")
    kafka.produce(topic, creations(1, 10))
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": topic})
    producer.init_transactions(30)
    for first in (11, 21, 31):
        producer.begin_transaction()
        for _, _, value in creations(first, 10):
            producer.produce(topic, value)
        producer.commit_transaction(30)
    done = consume(kafka, database, topic)
    assert (done.result["decisions"], done.stderr.count("state loaded")) == (40, 1)
    assert consume(kafka, database, topic).result["decisions"] == 0


def test_a_transaction_that_was_open_during_a_snapshot_is_decided_behind_it(tmp_path: Path) -> None:
    events = [
        envelope("r", None, row(1, 1_000), 100, START_US),
        envelope("u", row(1, 1_000), row(1, 2_000), 80, START_US),
        envelope("u", row(1, 2_000), row(1, 3_000), 90, START_US),
        envelope("u", row(1, 3_000), row(1, 4_000), 110, START_US),
    ]
    done = decide(tmp_path / "e", events)
    assert [line["lsn"] for line in lines(done)] == [100, 101, 102, 110]
    # Another snapshot, whose rows say what is known.
    again = decide(tmp_path / "e", [*events, envelope("r", None, row(1, 4_000), 200, START_US)])
    assert (last_line(again)["decisions"], last_line(again)["duplicates"]) == (4, 1)


def test_decision_tables_of_an_earlier_version_are_upgraded_in_place(
    kafka: Kafka, database: Database
) -> None:
    topic = kafka.create_topic(f"{database.name}.invoices")
    kafka.produce(topic, creations(1, 20))
    consume(kafka, database, topic)
    before = effects(database)
    database.sql("drop view risk.current_decisions; alter table risk.decisions drop column step")
    database.sql("alter table risk.decisions add primary key (partition, log_offset)")
    for column in ("topic_id", "topic_epoch", "source_epoch"):
        database.sql(f"alter table risk.stream_offsets drop column {column}")
    database.sql(
        "create view risk.current_decisions as select distinct on (invoice_id) * from risk.decisions"
    )
    refused = consume(kafka, database, topic, check=False)
    assert (refused.exit_code, "apply postgres-scripts/sql/05_decisions.sql again" in refused.stderr) == (
        78,
        True,
    )
    for _ in range(2):
        database.apply_schema()
    assert effects(database) == before
    kafka.produce(topic, [(0, None, envelope("u", row(1), row(1001), 9_000, START_US))])
    assert consume(kafka, database, topic).result["decisions"] == 2
    assert database.sql("select invoice_id, op, step from risk.current_decisions where step > 0") == [
        (1001, "u", 1)
    ]
