"""Nothing lost, nothing twice: whatever ends, the effects are those of an uninterrupted run."""

import os
import random
import signal
import time
from collections.abc import Callable

import pytest

from support.kafka import Kafka
from support.services import Database, Postgres, wait_until
from support.stream import (
    DECISIONS_WITHOUT_OFFSETS,
    assert_same_effects,
    consume,
    effects,
    start_consumer,
    traffic,
)
from support.tasks import run

pytestmark = pytest.mark.faults
SEED = int(os.environ.get("FAULTS_SEED", "20261122"))
# The whole campaign runs behind `make faults`, a sample of it in every test run.
KILLS = 100 if os.environ.get("FAULTS") == "all" else 8
# A static member that comes back is known to the broker, so nobody waits for the dead one's session.
SAME_MEMBER = ("--instance", "one")
ALL_FAILPOINTS = (
    "risk::decided",
    "risk::after_offsets",
    "risk::after_decisions",
    "risk::before_commit",
    "risk::after_commit",
)
FAILPOINTS = ALL_FAILPOINTS if KILLS == 100 else random.Random(SEED).sample(ALL_FAILPOINTS, 2)


@pytest.fixture
def topic(kafka: Kafka, database: Database) -> str:
    return kafka.create_topic(f"{database.name}.invoices", partitions=3)


@pytest.fixture
def other(postgres: Postgres) -> Database:
    """The database of the uninterrupted run."""
    return postgres.create_database()


def uninterrupted(kafka: Kafka, other: Database, topic: str) -> dict:
    """Decide the same topic in one go, into another database."""
    flags = ["--brokers", kafka.bootstrap, "--topic", topic, "--group", f"{topic}.other", "--exit-at-end",
             "--dead-letter-topic", f"{topic}.other", "--decisions", other.url()]  # fmt: skip
    run("invoice_consumer", *flags, env=other.env())
    return effects(other)


def lag(database: Database, messages: int) -> int:
    rows = database.sql("select coalesce(sum(next_offset), 0) from risk.stream_offsets")
    return messages - int(rows[0][0])


def test_killed_at_random_moments(kafka: Kafka, database: Database, other: Database, topic: str) -> None:
    chance = random.Random(SEED)
    messages = traffic(SEED, 100 * KILLS + 2000, partitions=3)
    kafka.produce(topic, messages)
    for _ in range(KILLS):
        task = start_consumer(kafka, database, topic, *SAME_MEMBER, "--batch-max", chance.randint(1, 200))
        time.sleep(chance.uniform(0.05, 1.0))
        task.kill_now()
    consume(kafka, database, topic, *SAME_MEMBER)
    assert lag(database, len(messages)) == 0
    assert_same_effects(effects(database), uninterrupted(kafka, other, topic))


@pytest.mark.parametrize("point", FAILPOINTS)
def test_killed_at_a_named_moment(
    kafka: Kafka, database: Database, other: Database, topic: str, point: str
) -> None:
    kafka.produce(topic, traffic(SEED, 600, partitions=3))
    for skipped in (0, 2, 5):
        done = consume(kafka, database, topic, *SAME_MEMBER, "--batch-max", 40, check=False,
                       failpoints=f"{point}={skipped}*off->return")  # fmt: skip
        assert done.exit_code == -signal.SIGABRT, done.stderr
    consume(kafka, database, topic, *SAME_MEMBER)
    assert_same_effects(effects(database), uninterrupted(kafka, other, topic))


def test_one_to_three_to_one_consumers_with_kills(
    kafka: Kafka, database: Database, other: Database, topic: str
) -> None:
    chance = random.Random(SEED)
    messages = traffic(SEED, 6000, partitions=3)
    third = len(messages) // 3
    tasks = [start_consumer(kafka, database, topic, "--batch-max", 20)]
    try:
        for part in range(3):
            kafka.produce(topic, messages[part * third : (part + 1) * third if part < 2 else None])
            if part == 1:
                tasks += [start_consumer(kafka, database, topic, "--batch-max", 20) for _ in range(2)]
                time.sleep(chance.uniform(0.5, 2))
                tasks.pop(chance.randrange(3)).kill_now()
                time.sleep(chance.uniform(0, 1))
                tasks.append(start_consumer(kafka, database, topic, "--batch-max", 20))
        time.sleep(1)
        while len(tasks) > 1:
            tasks.pop().kill_now()
        wait_until(lambda: lag(database, len(messages)) == 0, timeout=60)
    finally:
        for task in tasks:
            task.kill_now()
    assert_same_effects(effects(database), uninterrupted(kafka, other, topic))


def stopped_meanwhile(stop: Callable, kafka: Kafka, database: Database, topic: str) -> int:
    """Decide half of the messages, break something, send the rest, and wait until all is decided."""
    messages = traffic(SEED, 3000, partitions=3)
    half = len(messages) // 2
    kafka.produce(topic, messages[:half])
    task = start_consumer(kafka, database, topic, "--batch-max", 100)
    try:
        wait_until(lambda: lag(database, half) < half - 200)
        stop()
        kafka.produce(topic, messages[half:])
        wait_until(lambda: lag(database, len(messages)) == 0, timeout=60)
    finally:
        task.kill_now()
    return len(messages)


def test_the_broker_is_killed_and_comes_back(
    kafka: Kafka, database: Database, other: Database, topic: str
) -> None:
    stopped_meanwhile(lambda: kafka.restart(signal.SIGKILL), kafka, database, topic)
    assert_same_effects(effects(database), uninterrupted(kafka, other, topic))


def test_the_database_is_away_for_a_while(kafka: Kafka, other: Database, topic: str) -> None:
    seconds = 30 if KILLS == 100 else 3
    with Postgres() as server:
        database = server.create_database()

        def away() -> None:
            server.stop("immediate")
            time.sleep(seconds)
            server.start()

        stopped_meanwhile(away, kafka, database, topic)
        server.kill_backends()
        assert_same_effects(effects(database), uninterrupted(kafka, other, topic))


POISON = (
    b"not json at all",
    b'{"op":"c","after":{"invoice_id":"x","issue_date":1,"issuer_id":1,"receiver_id":1,"amount_usd":"1.00"}}',
    b'{"op":"c","after":{"invoice_id":5,"issue_date":1,"issuer_id":1,"receiver_id":1,"amount_usd":1.5}}',
    b'{"op":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"op":"z"}',
    b"\xff\xfe",
    b" " * 20_000_000,
)


def with_poison(seed: int, count: int) -> tuple[list, int]:
    chance = random.Random(seed)
    messages = traffic(seed, count, partitions=3)
    for body in POISON:
        messages.insert(chance.randrange(len(messages)), (chance.randrange(3), b"poison", body))
    return messages, len(POISON)


def test_poison_is_in_the_dead_letter_topic_once_and_can_be_put_back(
    kafka: Kafka, database: Database, topic: str
) -> None:
    kafka.configure_topic(topic, max_message_bytes="30000000")
    messages, poison = with_poison(SEED, 1000)
    kafka.produce(topic, messages)
    for skipped in range(0, poison, 2):
        # Killed after a letter is sent and before its offset is committed.
        consume(kafka, database, topic, *SAME_MEMBER, "--batch-max", 50, check=False,
                failpoints=f"risk::after_dead_letter={skipped // 2}*off->return")  # fmt: skip
    consume(kafka, database, topic, *SAME_MEMBER)
    letters = kafka.read(f"{topic}.dead-letters")
    places = sorted((dict(m.headers())["partition"], dict(m.headers())["offset"]) for m in letters)
    assert len(places) == len(set(places)) == poison
    stored = database.sql("select partition::text, log_offset::text from risk.dead_letters")
    assert sorted((p.encode(), o.encode()) for p, o in stored) == places
    for letter in letters:
        headers = dict(letter.headers())
        assert headers["topic"].decode() == topic
        assert len(headers["reason"]) > 10
        assert letter.value() in POISON
    flags = ("--brokers", kafka.bootstrap, "--group", topic, "--dead-letter-topic", f"{topic}.dead-letters")
    assert run("invoice_consumer", "dlq", "replay", *flags).result["put_back"] == poison
    assert run("invoice_consumer", "dlq", "replay", *flags).result["put_back"] == 0
    # Still undecodable, each is a dead letter again, at its new place.
    consume(kafka, database, topic, *SAME_MEMBER)
    assert len(kafka.read(f"{topic}.dead-letters")) == 2 * poison
    replayed = run("invoice_consumer", "replay", "--decisions", database.url(), env=database.env())
    assert replayed.result["differences"] == 0


def test_without_the_dead_letter_topic_the_consumer_waits_and_commits_nothing_past_it(
    kafka: Kafka, database: Database, topic: str
) -> None:
    letters = f"{topic}.dead-letters"
    messages = traffic(SEED, 60)
    poison = len(messages) // 2
    messages.insert(poison, (0, None, b"poison"))
    task = start_consumer(kafka, database, topic, "--batch-max", 10)
    try:
        wait_until(lambda: "state loaded" in task.stderr_so_far())
        kafka.delete_topic(letters)
        kafka.produce(topic, messages)
        wait_until(lambda: "nothing past it is committed" in task.stderr_so_far(), 60)
        assert lag(database, len(messages)) >= len(messages) - poison
        kafka.create_topic(letters)
        wait_until(lambda: lag(database, len(messages)) == 0, timeout=60)
    finally:
        task.kill_now()
    assert len(kafka.read(letters)) == 1


def test_a_stream_that_is_emitted_again_with_new_offsets_changes_nothing(
    kafka: Kafka, database: Database, topic: str
) -> None:
    messages = traffic(SEED, 1000, partitions=3)
    kafka.produce(topic, messages)
    consume(kafka, database, topic)
    before = effects(database, DECISIONS_WITHOUT_OFFSETS)
    kafka.produce(topic, messages[300:])
    done = consume(kafka, database, topic)
    assert done.result["decisions"] == 0
    assert_same_effects(before, effects(database, DECISIONS_WITHOUT_OFFSETS))
