"""Change events as Debezium sends them, and what the consumer made of them."""

import json
import random
from collections.abc import Iterator
from typing import Any

from support.services import Database, wait_until
from support.tasks import Result, Task, run, start

DAY_US = 86_400_000_000
# Killed consumers are missed soon.
FAST_GROUP = "session.timeout.ms=3000\nheartbeat.interval.ms=300\n"
START_US = 1_767_225_600_000_000  # 2026-01-01


def envelope(op: str, before: dict | None, after: dict | None, lsn: int, committed_us: int) -> bytes:
    """Return a change event without its schema."""
    source = {"lsn": lsn, "ts_ms": committed_us // 1000, "ts_us": committed_us, "snapshot": "false"}
    return json.dumps({"before": before, "after": after, "source": source, "op": op}).encode()


def invoice(number: int, date_us: int, issuer: int | None, receiver: int | None, cents: int) -> dict:
    """Return a row as the connector writes it."""
    sign = "-" if cents < 0 else ""
    amount = f"{sign}{abs(cents) // 100}.{abs(cents) % 100:02}"
    return {"invoice_id": number, "issue_date": date_us, "issuer_id": issuer, "receiver_id": receiver,
            "amount_usd": amount}  # fmt: skip


def traffic(
    seed: int, count: int, partitions: int = 1, businesses: int = 60
) -> list[tuple[int, bytes, bytes]]:
    """Make partition, key and value of creations, updates, deletions and repetitions."""
    chance = random.Random(seed)
    rows: dict[int, dict] = {}
    messages: list[tuple[int, bytes, bytes]] = []
    lsn = 0
    for step in range(count):
        lsn += chance.randint(1, 200)
        now = START_US + step * DAY_US * 60 // count
        kind = chance.random()
        if kind < 0.85 or not rows:
            number = len(messages) + 1
            issuer = chance.randint(1, businesses)
            receiver = issuer if chance.random() < 0.02 else chance.randint(1, businesses)
            date = now - chance.randint(0, 3 * DAY_US) if chance.random() < 0.1 else now
            cents = chance.choice([chance.randint(100, 90_000), chance.randint(1, 9) * 100_000, 495_000])
            row = invoice(number, date, issuer, receiver, cents)
            rows[number] = row
            op, before, after = "c", None, row
        elif kind < 0.93:
            number = chance.choice(list(rows))
            before = rows[number]
            after = before | {"amount_usd": f"{chance.randint(1, 9_000)}.00"}
            rows[number] = after
            op = "u"
        else:
            number = chance.choice(list(rows))
            before, after, op = rows.pop(number), None, "d"
        issuer = (after or before)["issuer_id"]
        key = json.dumps({"issuer_id": issuer}).encode()
        messages.append((issuer % partitions, key, envelope(op, before, after, lsn, now)))
        if op == "d":
            messages.append((issuer % partitions, key, None))
        if chance.random() < 0.03:
            # The connector repeats its last messages after a crash.
            messages.extend(messages[-chance.randint(1, 20) :])
    return messages


def consumer_flags(kafka: Any, database: Database, topic: str, *more: object) -> list[object]:
    """Return the flags of a consumer whose group is the topic's."""
    return [
        "--brokers",
        kafka.bootstrap,
        "--topic",
        topic,
        "--group",
        topic,
        "--decisions",
        database.url(),
        *more,
    ]


def consume(
    kafka: Any,
    database: Database,
    topic: str,
    *more: object,
    env: dict[str, str] | None = None,
    **options: Any,
) -> Result:
    """Decide all there is and end."""
    flags = consumer_flags(kafka, database, topic, "--exit-at-end", *more)
    return run("invoice_consumer", *flags, env=database.env() | (env or {}), **options)


def start_consumer(
    kafka: Any,
    database: Database,
    topic: str,
    *more: object,
    env: dict[str, str] | None = None,
    **options: Any,
) -> Task:
    """Start a consumer that runs until it is stopped."""
    flags = consumer_flags(kafka, database, topic, *more)
    return start("invoice_consumer", *flags, env=database.env() | (env or {}), **options)


DECISIONS = """
    select partition, log_offset, invoice_id, lsn, op, status, score, rules, features, rule_set,
           issue_date, filed_at, issuer_id, receiver_id, amount_cents,
           previous_status, previous_lsn, committed_at
    from risk.decisions order by partition, log_offset
"""
# Repetitions come with other offsets after a crash of the connector.
DECISIONS_WITHOUT_OFFSETS = """
    select invoice_id, lsn, op, status, score, rules, features, rule_set, amount_cents
    from risk.decisions order by invoice_id, lsn, status = 'withdrawn' desc
"""


def effects(database: Database, decisions: str = DECISIONS) -> dict[str, list]:
    """Return everything that the consumer has written, but for times and ids of its own."""
    return {
        "decisions": list(database.sql(decisions)),
        "figures": list(database.sql("select * from risk.business_days order by 1, 2")),
        "outbox": sorted(
            database.sql("select invoice_id, lsn, from_status, to_status, score from risk.notifications")
        ),
        "dead letters": list(
            database.sql("select topic, partition, log_offset, reason from risk.dead_letters order by 2, 3")
        ),
    }


def assert_same_effects(left: dict[str, list], right: dict[str, list]) -> None:
    """Compare effects part by part, so that a failure says which part differs first."""
    for part, rows in left.items():
        for one, other in zip(rows, right[part], strict=False):
            assert one == other, part
        assert len(rows) == len(right[part]), part


def lines(result: Result) -> Iterator[dict[str, Any]]:
    """Give the JSON lines before the result line."""
    for line in result.stdout.splitlines()[:-1]:
        yield json.loads(line)


def last_line(result: Result) -> dict[str, Any]:
    """Return the result line."""
    return json.loads(result.stdout.splitlines()[-1])


def lose_slot(database: Database) -> None:
    """Write more log than the server keeps for a slot that nobody reads."""

    def status() -> str:
        return database.sql("select wal_status from pg_replication_slots")[0][0]

    assert status() != "lost"
    database.sql("create table filler (text text)")
    for _ in range(3):
        database.sql("insert into filler select repeat('x', 1000) from generate_series(1, 20000)")
        database.sql("select pg_switch_wal()")
    database.sql("checkpoint")
    wait_until(lambda: status() == "lost")
