"""The stream's worst days: changed ids, truncations, topics and sources that begin anew."""

import json
from pathlib import Path

import pytest

from support.kafka import TOPIC, Connect, Kafka
from support.services import Database, wait_until
from support.stream import START_US, consume, effects, envelope, invoice, last_line, lines
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


@pytest.mark.parametrize("date_us", [253_402_214_400_000_000, 1_769_850_900_000, -1, 0, -62_135_596_800_000_000])
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
    return [(0, None, envelope("c", None, row(n), lsn or n * 10, START_US)) for n in range(first, first + count)]


def test_a_topic_that_was_made_again_is_refused_until_it_is_accepted(kafka: Kafka, database: Database) -> None:
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


def test_a_topic_and_its_decisions_survive_changed_ids_and_a_truncation(kafka: Kafka, database: Database) -> None:
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
    replayed = run("invoice_consumer", "replay", "--decisions", database.url(), env=database.env())
    assert replayed.result["differences"] == 0


def test_the_shipped_connector_tells_changed_ids_and_truncations(kafka: Kafka, database: Database) -> None:
    database.sql("insert into customers values (1, 'A'), (2, 'B')")
    database.sql("insert into invoices values (1, '9999-12-31', 1, 2, 5), (2, '1970-01-02', 1, 2, 6)")
    connect = Connect(kafka, database)
    try:
        assert connect.register().returncode == 0
        database.sql("update invoices set invoice_id = 3 where invoice_id = 1")
        wait_until(lambda: len([m for m in kafka.read(TOPIC) if m.value()]) >= 3, 60)
        consume(kafka, database, TOPIC)
        now = database.sql("""select invoice_id, status = 'withdrawn', issue_date::text
            from risk.current_decisions order by 1""")
        assert now == [
            (1, True, "9999-12-31 00:00:00"), (2, False, "1970-01-02 00:00:00"), (3, False, "9999-12-31 00:00:00"),
        ]  # fmt: skip
        database.sql("truncate invoices")
        wait_until(lambda: any(json.loads(m.value())["op"] == "t" for m in kafka.read(TOPIC) if m.value()), 60)
        assert consume(kafka, database, TOPIC).result["withdrawn"] == 2
    finally:
        connect.stop()
