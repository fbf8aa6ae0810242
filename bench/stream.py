"""The stream path against its peers on one machine: catch-up, steady load, from commit to decision.

    python bench/stream.py --events 1000000

Prints a table as Markdown. Broker, databases and contestants share the machine.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.request import urlopen

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from confluent_kafka import Producer

from support.kafka import TOPIC, Connect, Kafka
from support.process import free_port, peak_rss_mib
from support.services import SUPERUSER, Database, Postgres, tools_folder, wait_until
from support.stream import consumer_flags, envelope, invoice, start_consumer
from support.tasks import run

PEERS = Path(__file__).resolve().parent / "peers"
PEER, SPARK_PEER = PEERS / "confluent_insert.py", PEERS / "pyspark_kafka.py"


def events(folder: Path, count: int, customers: int) -> Path:
    """Write change events of realistic traffic."""
    path = folder / "events.jsonl"
    run("populate_tables", "--source", f"sqlite:{folder}/i.db", "--customers", customers, "--invoices", count,
        "--seed", 1, "--until", "2026-06-30", "--months", 12, "--events", path, timeout=600)  # fmt: skip
    return path


def fill(kafka: Kafka, topic: str, path: Path) -> None:
    """Send the events, each keyed by its issuer, into the topic's only partition."""
    with path.open("rb") as file:
        kafka.produce(topic, ((0, b"{}", line.rstrip(b"\n")) for line in file))


def catch_up(kafka: Kafka, postgres: Postgres, topic: str, count: int) -> dict:
    """Measure the consumer from its start to its last committed decision."""
    database = postgres.create_database()
    flags = consumer_flags(kafka, database, topic, "--exit-at-end")
    done = run("invoice_consumer", *flags, env=database.env(), timeout=900)
    first, last, rows = database.sql(
        "select min(received_at), max(decided_at), count(*) from risk.decisions"
    )[0]
    assert rows == count, f"{rows} decisions on {count} events"
    return {
        "seconds": (last - first).total_seconds(), "wall": done.seconds, "cpu": done.cpu_seconds,
        "rss": done.peak_rss_mib, "businesses": done.result["businesses"],
    }  # fmt: skip


def peer(kafka: Kafka, postgres: Postgres, topic: str, count: int) -> dict:
    """Measure a Python consumer that parses and inserts and decides nothing."""
    database = postgres.create_database()
    command = [sys.executable, str(PEER), kafka.bootstrap, topic, database.admin_url, str(count)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, peak_rss_mib(process.pid))
        time.sleep(0.1)
    return json.loads(process.stdout.read()) | {"rss": peak}


def spark_peer(kafka: Kafka, postgres: Postgres, topic: str, count: int) -> dict:
    """Measure Spark Structured Streaming, which parses and inserts and decides nothing."""
    jars = [
        *(tools_folder() / "spark-kafka").glob("*.jar"),
        *(tools_folder() / "jars").glob("postgresql-*.jar"),
    ]
    if len(jars) < 5:
        raise RuntimeError("Spark's jars aren't there: run scripts/setup.sh bench")
    database = postgres.create_database()
    database.sql("""create table parsed_by_spark (invoice_id bigint primary key, issue_date bigint,
        issuer_id bigint, receiver_id bigint, amount numeric, lsn bigint)""")
    address = f"{postgres.host}:{postgres.port}"
    with tempfile.NamedTemporaryFile("r") as usage:
        command = ["/usr/bin/time", "--format=%U %S %M", f"--output={usage.name}", sys.executable,
                   str(SPARK_PEER), kafka.bootstrap, topic, address, database.name, SUPERUSER]  # fmt: skip
        environment = os.environ | database.env() | {"SPARK_JARS": ",".join(map(str, jars))}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        user, system, peak_kib = map(float, usage.read().split())
    facts = json.loads(done.stdout.splitlines()[-1])
    rows = database.sql("select count(*) from parsed_by_spark")[0][0]
    assert rows == facts["events"] == count, f"{rows} rows of {count} events"
    return facts | {"cpu": user + system, "rss": peak_kib / 1024}


def percentile(port: int, name: str, share: float) -> str:
    """Read the bucket that holds a percentile off the metrics."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    buckets = re.findall(rf'{name}_bucket{{le="([^"]+)"}} (\d+)', text)
    total = int(buckets[-1][1])
    return next(bound for bound, found in buckets if int(found) >= share * total) + f" s of {total}"


def steady(kafka: Kafka, postgres: Postgres, rate: int, seconds: int) -> None:
    """Send at a steady rate; print the buckets of median and 99th percentile."""
    database = postgres.create_database()
    topic = kafka.create_topic(f"steady-{rate}-{database.name}")
    send_steadily(kafka, database, topic, rate, seconds)


def send_steadily(
    kafka: Kafka, database: Database, topic: str, rate: int, seconds: int, *flags: object
) -> None:
    """Decide new invoices at a steady rate behind what is decided; print the buckets."""
    port = free_port()
    task = start_consumer(kafka, database, topic, "--listen", f"127.0.0.1:{port}", *flags)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 0})
    wait_until(lambda: "state loaded" in task.stderr_so_far(), 600)
    before = database.sql("select count(*) from risk.decisions")[0][0]
    time.sleep(2)
    started = time.monotonic()
    for number in range(rate * seconds):
        now_us = time.time_ns() // 1000
        row = invoice(before + number + 1, now_us, number % 997 + 1, number % 991 + 1, 100 + number % 100_000)
        producer.produce(topic, envelope("c", None, row, before + number + 1, now_us))
        producer.poll(0)
        ahead = started + (number + 1) / rate - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)
    producer.flush(30)
    total = before + rate * seconds
    wait_until(lambda: database.sql("select count(*) from risk.decisions")[0][0] == total, 60)
    names = (
        "risk_receipt_to_decision_seconds",
        "risk_commit_to_decision_seconds",
        "risk_transaction_seconds",
    )
    for name in names:
        print(
            f"{rate}/s, {name}: p50 <= {percentile(port, name, 0.5)}, p99 <= {percentile(port, name, 0.99)}"
        )
    written = re.findall(r"checkpoint written.*", task.stderr_so_far())
    print(f"{len(written)} checkpoints meanwhile", *written[-1:], sep="; ")
    task.send_signal(signal.SIGTERM)
    task.finish()


MESSAGES = 1000
GENERATED = """
    insert into risk.decisions (partition, log_offset, step, invoice_id, lsn, op, status, score, features,
        model, rule_set, issue_date, filed_at, issuer_id, receiver_id, amount_cents, committed_at,
        received_at, decided_at)
    select 0, n * %(messages)s / %(count)s, n, n, n, 'c', 'approve', 0, array_fill(100::int8, array[43]),
        'features-1', '0123456789abcdef', filed, filed, issuer,
        (issuer * 7 + (hash >> 20) %% 10) %% %(businesses)s, 100 + hash %% 9000000, filed, filed, filed
    from (
        select n, hash, (hash >> 40) %% %(businesses)s as issuer,
            timestamp '2025-07-01' + interval '365 days' * (n::float8 / %(count)s) as filed
        from (
            select n, abs(hashint8extended(n, 0) / 2) as hash
            from generate_series(%(first)s::int8, %(last)s::int8) n
        ) hashed
    ) drawn
"""


def restart(kafka: Kafka, postgres: Postgres, count: int, businesses: int, rate: int, seconds: int) -> None:
    """Print how long a start takes behind generated decisions, and what a checkpoint costs the decisions."""
    database = postgres.create_database()
    topic = kafka.create_topic(f"restart-{database.name}")
    kafka.produce(topic, ((0, b"{}", None) for _ in range(MESSAGES)))
    for first in range(0, count, 1_000_000):
        last = min(first + 1_000_000, count) - 1
        numbers = {
            "count": count,
            "businesses": businesses,
            "messages": MESSAGES,
            "first": first,
            "last": last,
        }
        with database.connect() as connection:
            connection.execute(GENERATED, numbers)
    database.sql("vacuum analyze risk.decisions")
    database.sql(
        "insert into risk.stream_offsets (topic, partition, next_offset) values (%s, 0, %s)", topic, MESSAGES
    )
    with tempfile.TemporaryDirectory() as folder:
        keeping = ("--checkpoints", Path(folder).as_uri(), "--checkpoint-every", 1)
        for what, flags in (("all decisions", ()), ("first checkpoint", keeping), ("checkpoint", keeping)):
            task = start_consumer(kafka, database, topic, *flags)
            wait_until(lambda task=task: "state loaded" in task.stderr_so_far(), 1800)
            loaded = re.findall(r"state loaded.*", task.stderr_so_far())[-1]
            peak = peak_rss_mib(task.pid)
            if what == "first checkpoint":
                wait_until(lambda task=task: "checkpoint written" in task.stderr_so_far(), 1800)
                print(re.findall(r"checkpoint written.*", task.stderr_so_far())[-1])
            print(f"{count:,} decisions, from {what}, {peak:.0f} MiB: {loaded}")
            task.send_signal(signal.SIGTERM)
            task.finish()
        send_steadily(kafka, database, topic, rate, seconds)
        often = ("--checkpoints", Path(folder).as_uri(), "--checkpoint-every", 2 * rate)
        send_steadily(kafka, database, topic, rate, seconds, *often)


def from_commit(kafka: Kafka, postgres: Postgres, rate: int, seconds: int) -> None:
    """Insert into the source at a steady rate through Debezium."""
    database: Database = postgres.create_database()
    database.sql("insert into customers select n, 'c' || n from generate_series(1, 1000) n")
    with Connect(kafka, database) as connect:
        registered = connect.register()
        assert registered.returncode == 0, registered.stderr
        database.sql("insert into invoices values (0, now(), 1, 2, 1.00)")
        wait_until(lambda: TOPIC in kafka.admin.list_topics(timeout=5).topics, 60)
        port = free_port()
        task = start_consumer(kafka, database, TOPIC, "--listen", f"127.0.0.1:{port}")
        wait_until(lambda: database.sql("select count(*) from risk.decisions")[0][0] == 1, 60)
        time.sleep(5)
        with database.connect() as connection:
            started = time.monotonic()
            for number in range(1, rate * seconds + 1):
                connection.execute(
                    "insert into invoices values (%s, now(), %s, %s, 9.99)",
                    (number, number % 997 + 1, number % 991 + 1),
                )
                ahead = started + number / rate - time.monotonic()
                if ahead > 0:
                    time.sleep(ahead)
        wait_until(
            lambda: database.sql("select count(*) from risk.decisions")[0][0] == rate * seconds + 1, 60
        )
        name = "risk_commit_to_decision_seconds"
        print(
            f"Debezium {rate}/s: p50 <= {percentile(port, name, 0.5)}, p99 <= {percentile(port, name, 0.99)}"
        )
        task.send_signal(signal.SIGTERM)
        task.finish()


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rate", type=int, default=1000, help="events per second of the steady load")
    parser.add_argument("--fsync", action="store_true", help="the database waits for its disk")
    parser.add_argument("--without-spark", action="store_true")
    parser.add_argument("--only", choices=("catch-up", "steady", "commit", "restart"))
    args = parser.parse_args()
    with (
        Kafka(memory=("-Xms512m", "-Xmx1g")) as kafka,
        Postgres(settings={"max_wal_size": "8GB", "fsync": "on" if args.fsync else "off"}) as postgres,
    ):
        if args.only in (None, "catch-up"):
            with tempfile.TemporaryDirectory() as folder:
                topic = kafka.create_topic("bench")
                fill(kafka, topic, events(Path(folder), args.events, args.customers))
            print("| contestant | events/s | seconds | client CPU | peak memory |\n|---|---|---|---|---|")
            ours = catch_up(kafka, postgres, topic, args.events)
            other = peer(kafka, postgres, topic, args.events)
            contestants = [("invoice_consumer, all rules", ours), ("confluent-kafka, inserts only", other)]
            if not args.without_spark:
                spark = spark_peer(kafka, postgres, topic, args.events)
                contestants.append(("PySpark structured streaming, inserts only", spark))
            for name, facts in contestants:
                cells = f"{facts['seconds']:.1f} | {facts['cpu']:.1f} s | {facts['rss']:.0f} MiB"
                print(f"| {name} | {args.events / facts['seconds']:,.0f} | {cells} |")
            ratios = (f"{facts['seconds'] / ours['seconds']:.2f}" for _, facts in contestants[1:])
            print(f"\nratios {', '.join(ratios)}; {ours['businesses']:,} businesses in state")
        if args.only in (None, "steady"):
            steady(kafka, postgres, args.rate, args.seconds)
        if args.only in (None, "restart"):
            restart(kafka, postgres, args.events, args.customers, args.rate, args.seconds)
        if args.only in (None, "commit"):
            from_commit(kafka, postgres, 200, args.seconds)


if __name__ == "__main__":
    main()
