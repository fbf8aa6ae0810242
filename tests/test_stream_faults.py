"""Nothing lost, nothing twice: whatever ends, the effects are those of an uninterrupted run.

`make test` runs a seeded sample, `make faults` the whole campaign (FAULTS=all) and prints counts.
"""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.kafka import TOPIC, Connect, Kafka
from support.services import Database, Postgres, wait_until
from support.stream import (
    DECISIONS_WITHOUT_OFFSETS,
    FAST_GROUP,
    assert_same_effects,
    consume,
    effects,
    lose_slot,
    start_consumer,
    traffic,
)
from support.tasks import Task, run

pytestmark = pytest.mark.faults
SEED = int(os.environ.get("FAULTS_SEED", "20261122"))
CAMPAIGN = os.environ.get("FAULTS") == "all"
KILLS = 100 if CAMPAIGN else 4
OUTAGE_SECONDS = 30 if CAMPAIGN else 3
# Seeds of the faults that take long.
ROUNDS = range(SEED, SEED + (5 if CAMPAIGN else 1))
only_in_campaign = pytest.mark.skipif(not CAMPAIGN, reason="long: make faults")
# A static member that comes back is known to the broker, so nobody waits for the dead one's session.
SAME_MEMBER = ("--instance", "one")
ALL_FAILPOINTS = (
    "risk::decided",
    "risk::after_offsets",
    "risk::after_decisions",
    "risk::before_commit",
    "risk::after_commit",
)
FAILPOINTS = ALL_FAILPOINTS if CAMPAIGN else random.Random(SEED).sample(ALL_FAILPOINTS, 1)


@pytest.fixture
def topic(kafka: Kafka, database: Database) -> str:
    return kafka.create_topic(f"{database.name}.invoices", partitions=3)


@pytest.fixture
def fast(tmp_path: Path) -> tuple:
    """Flags of a consumer that is missed soon when it is killed."""
    path = tmp_path / "kafka.properties"
    path.write_text(FAST_GROUP)
    return "--kafka-config", path


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
    messages = traffic(SEED, 500 * KILLS, partitions=3)
    share = len(messages) // KILLS
    moved, before = 0, len(messages)
    for turn in range(KILLS):
        # Every consumer finds something to do.
        kafka.produce(topic, messages[turn * share : (turn + 1) * share if turn < KILLS - 1 else None])
        task = start_consumer(kafka, database, topic, *SAME_MEMBER, "--batch-max", chance.randint(1, 200))
        if chance.random() < 0.8:
            # Most at work, where a start may take as long as it likes; the others while they start.
            wait_until(lambda task=task: "state loaded" in task.stderr_so_far(), timeout=60)
            time.sleep(chance.uniform(0, 0.2))
        else:
            time.sleep(chance.uniform(0.05, 1.0))
        task.kill_now()
        left = lag(database, len(messages))
        moved, before = moved + (left < before), left
    consume(kafka, database, topic, *SAME_MEMBER)
    assert lag(database, len(messages)) == 0
    assert_same_effects(effects(database), uninterrupted(kafka, other, topic))
    print(f"{KILLS} kills, {moved} after something was committed, {len(messages)} messages")


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


@pytest.mark.parametrize("seed", ROUNDS)
def test_one_to_three_to_one_consumers_with_kills(
    kafka: Kafka, database: Database, other: Database, topic: str, fast: tuple, seed: int
) -> None:
    chance = random.Random(seed)
    messages = traffic(seed, 3000, partitions=3)
    third = len(messages) // 3

    def another() -> Task:
        return start_consumer(kafka, database, topic, "--batch-max", 20, *fast)

    tasks = [another()]
    try:
        for part in range(3):
            kafka.produce(topic, messages[part * third : (part + 1) * third if part < 2 else None])
            if part == 1:
                tasks += [another(), another()]
                time.sleep(chance.uniform(0.5, 2))
                tasks.pop(chance.randrange(3)).kill_now()
                time.sleep(chance.uniform(0, 1))
                tasks.append(another())
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


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM] if CAMPAIGN else [signal.SIGKILL])
def test_the_broker_ends_and_comes_back(
    kafka: Kafka, database: Database, other: Database, topic: str, number: int
) -> None:
    stopped_meanwhile(lambda: kafka.restart(number), kafka, database, topic)
    assert_same_effects(effects(database), uninterrupted(kafka, other, topic))


def test_the_database_is_away_for_a_while(kafka: Kafka, other: Database, topic: str) -> None:
    with Postgres() as server:
        database = server.create_database()

        def away() -> None:
            server.stop("immediate")
            time.sleep(OUTAGE_SECONDS)
            server.start()

        stopped_meanwhile(away, kafka, database, topic)
        server.kill_backends()
        assert_same_effects(effects(database), uninterrupted(kafka, other, topic))


def test_a_partition_that_stands_still_is_noticed_and_healed(
    kafka: Kafka, database: Database, other: Database, topic: str
) -> None:
    """The client stops fetching and says nothing, as librdkafka has done in several of its bugs."""
    messages = traffic(SEED, 600, partitions=3)
    half = len(messages) // 2
    kafka.produce(topic, messages[:half])
    task = start_consumer(kafka, database, topic, "--stuck-seconds", 2,
                          failpoints="risk::stall=2*off->1*return->off")  # fmt: skip
    try:
        wait_until(lambda: lag(database, half) == 0)
        # Paused in the third second; what comes then is not fetched.
        time.sleep(4)
        kafka.produce(topic, messages[half:])
        wait_until(lambda: "the partition stands still; fetching it again" in task.stderr_so_far())
        wait_until(lambda: lag(database, len(messages)) == 0)
    finally:
        task.kill_now()
    assert_same_effects(effects(database), uninterrupted(kafka, other, topic))


def test_a_partition_that_cannot_be_healed_ends_the_process(
    kafka: Kafka, database: Database, topic: str
) -> None:
    messages = traffic(SEED, 600, partitions=3)
    task = start_consumer(kafka, database, topic, "--stuck-seconds", 1, failpoints="risk::stall=return")
    wait_until(lambda: "state loaded" in task.stderr_so_far())
    time.sleep(2)
    kafka.produce(topic, messages)
    done = task.finish(timeout=30)
    assert done.exit_code == 75, done.stderr
    assert "stands still at offset" in done.result["error"]
    assert lag(database, len(messages)) == len(messages)
    consume(kafka, database, topic)
    assert lag(database, len(messages)) == 0


@only_in_campaign
def test_connect_ends_and_comes_back_while_invoices_change(
    kafka: Kafka, database: Database, other: Database
) -> None:
    """The worker notes its offsets every five seconds; killed, it emits again what came since."""
    chance, restarts, last = random.Random(SEED), 6, 0
    database.sql("insert into customers select n, 'x' from generate_series(1, 50) n")
    with Connect(kafka, database) as connect:
        assert connect.register().returncode == 0
        task = start_consumer(kafka, database, TOPIC)
        try:
            for turn in range(restarts):
                for _ in range(chance.randint(20, 60)):
                    last += 1
                    values = (last, chance.randint(1, 50), chance.randint(1, 50), chance.randint(1, 900_000))
                    database.sql("insert into invoices values (%s, now(), %s, %s, %s / 100.0)", *values)
                    if chance.random() < 0.2:
                        changed = chance.randint(1, last)
                        database.sql("update invoices set amount_usd = 7 where invoice_id = %s", changed)
                    if chance.random() < 0.1:
                        database.sql("delete from invoices where invoice_id = %s", chance.randint(1, last))
                connect.restart(signal.SIGKILL if turn % 3 else signal.SIGTERM)
            right = """select (select array_agg((invoice_id, amount_usd) order by invoice_id) from invoices) =
                (select array_agg((invoice_id, amount_cents / 100.0) order by invoice_id)
                 from risk.current_decisions where status <> 'withdrawn')"""
            wait_until(lambda: database.sql(right) == [(True,)], timeout=90)
        finally:
            task.kill_now()
    consume(kafka, database, TOPIC)
    creations = "select count(*), count(distinct invoice_id) from risk.decisions where op in ('c', 'r')"
    assert database.sql(creations) == [(last, last)]
    assert_same_effects(effects(database), uninterrupted(kafka, other, TOPIC))
    sent = [message for message in kafka.read(TOPIC) if message.value()]
    decided = database.sql("select count(*) from risk.decisions")[0][0]
    print(f"{restarts} restarts of Connect, {last} invoices, {len(sent)} events, {decided} decisions")


@only_in_campaign
def test_the_way_out_of_a_lost_slot(kafka: Kafka) -> None:
    """What docs/runbook/lost-slot.md says, step by step."""
    with Postgres(settings={"max_slot_wal_keep_size": "1MB", "max_wal_size": "32MB"}) as server:
        source = server.create_database()
        source.sql("insert into customers values (1, 'A'), (2, 'B')")

        def open_invoices() -> list[tuple]:
            current = "from risk.current_decisions where status <> 'withdrawn' order by 1"
            return list(source.sql(f"select invoice_id, amount_cents, op {current}"))

        def add(first: int, last: int) -> None:
            source.sql(
                f"insert into invoices select n, now(), 1, 2, 5 from generate_series({first}, {last}) n"
            )

        with Connect(kafka, source) as connect:
            assert connect.register().returncode == 0
            add(1, 4)
            task = start_consumer(kafka, source, TOPIC, "--slot-source", source.url())
            try:
                wait_until(lambda: len(open_invoices()) == 4, timeout=60)
                connect.end_process(signal.SIGTERM)
                add(5, 6)
                source.sql("update invoices set amount_usd = 7 where invoice_id = 1")
                source.sql("delete from invoices where invoice_id = 2")
                lose_slot(source)
                wait_until(lambda: "GAP: the replication slot is lost" in task.stderr_so_far())
                connect.start()
                assert connect.register(SNAPSHOT_MODE="when_needed").returncode == 0
                source.sql("select pg_drop_replication_slot('invoice_platform')")
                snapshot = [(1, 700, "r"), (2, 500, "c"), (3, 500, "c"), (4, 500, "c"),
                            (5, 500, "r"), (6, 500, "r")]  # fmt: skip
                # The connector tries again by itself. A deletion in the gap is not heard of.
                wait_until(lambda: open_invoices() == snapshot, timeout=90)
                add(7, 7)
                wait_until(lambda: open_invoices() == [*snapshot, (7, 500, "c")])
                assert connect.register().returncode == 0
                add(8, 8)
                wait_until(lambda: len(open_invoices()) == 8, timeout=60)
            finally:
                task.kill_now()
        assert source.sql("select count(*) from risk.notifications") == [(0,)]


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


@pytest.mark.parametrize("seed", ROUNDS)
def test_poison_is_in_the_dead_letter_topic_once_and_can_be_put_back(
    kafka: Kafka, database: Database, topic: str, seed: int
) -> None:
    kafka.configure_topic(topic, max_message_bytes="30000000")
    messages, poison = with_poison(seed, 1000)
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
