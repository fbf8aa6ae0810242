"""Peer: a Python consumer that parses each event and inserts it by COPY. It decides nothing."""

import json
import resource
import sys
import time

import psycopg
from confluent_kafka import Consumer

BATCH = 10_000


def main() -> None:
    """Consume until as many events as named are committed; print seconds and CPU."""
    bootstrap, topic, url, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    consumer = Consumer({
        "bootstrap.servers": bootstrap, "group.id": "peer", "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
    })  # fmt: skip
    consumer.subscribe([topic])
    done, started = 0, None
    with psycopg.connect(url) as connection:
        connection.execute(
            "create table parsed (invoice_id bigint primary key, issue_date bigint, issuer_id bigint,"
            " receiver_id bigint, amount numeric, lsn bigint)"
        )
        connection.commit()
        while done < count:
            messages = consumer.consume(BATCH, timeout=1)
            started = started or (messages and time.monotonic())
            with connection.cursor() as cursor, cursor.copy("copy parsed from stdin") as copy:
                for message in messages:
                    event = json.loads(message.value())
                    row = event["after"]
                    copy.write_row((
                        row["invoice_id"], row["issue_date"], row["issuer_id"], row["receiver_id"],
                        row["amount_usd"], event["source"]["lsn"],
                    ))  # fmt: skip
            connection.commit()
            consumer.commit(asynchronous=True)
            done += len(messages)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"seconds": time.monotonic() - started, "cpu": usage.ru_utime + usage.ru_stime}))
    consumer.close()


if __name__ == "__main__":
    main()
