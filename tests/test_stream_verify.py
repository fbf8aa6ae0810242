"""`invoice_consumer verify`: source, decisions and figures, each added up by its own database."""

import json
import signal

import pytest

from support.kafka import Kafka
from support.services import Database, wait_until
from support.stream import DAY_US, START_US, consume, envelope, invoice, start_consumer
from support.tasks import Result, run

COUNT = 600


@pytest.fixture
def topic(kafka: Kafka, database: Database) -> str:
    """Give each test a topic, and its invoices to the source and to the topic."""
    rows = [
        invoice(n, START_US + n * DAY_US // 10, n % 40 or None, n % 37 or None, n * 1_007 - 50_000)
        for n in range(1, COUNT + 1)
    ]
    database.sql(
        """insert into public.customers (customer_id, customer_name)
        select n, 'Business ' || n from generate_series(1, 40) n on conflict do nothing"""
    )
    database.sql(
        """insert into public.invoices (invoice_id, issue_date, issuer_id, receiver_id, amount_usd)
        select (row->>'invoice_id')::int8, timestamp 'epoch' + (row->>'issue_date')::int8 * interval '1 us',
               (row->>'issuer_id')::int8, (row->>'receiver_id')::int8, (row->>'amount_usd')::numeric
        from unnest(%s::jsonb[]) as rows(row)""",
        [json.dumps(row) for row in rows],
    )
    name = kafka.create_topic(f"{database.name}.invoices")
    created = (envelope("c", None, row, 100 + n, START_US) for n, row in enumerate(rows))
    kafka.produce(name, [(0, None, event) for event in created])
    return name


def verify(database: Database, wait: int = 0) -> Result:
    """Compare the three months that the invoices lie in."""
    flags = ("--source", database.url(), "--decisions", database.url(), "--wait", str(wait))
    window = ("--as-of", "2026-03-31", "--months", "3")
    return run("invoice_consumer", "verify", *flags, *window, env=database.env(), check=False)


def months(result: Result) -> dict[str, dict]:
    """Return what is said of each month."""
    return {month["month"]: month for month in result.result["months"]}


def test_decisions_that_are_the_source_agree_and_each_difference_is_named(
    kafka: Kafka, database: Database, topic: str
) -> None:
    consume(kafka, database, topic)
    agreed = verify(database)
    assert (agreed.exit_code, agreed.result["months_differ"]) == (0, 0), agreed.stderr
    assert agreed.result["source_rows"] == agreed.result["decided_rows"] == COUNT
    total = database.sql("select sum(amount_usd)::text from public.invoices where issue_date < '2026-02-01'")
    assert months(agreed)["2026-01-01"]["decided"]["amount_usd"] == total[0][0]

    database.sql("insert into public.invoices values (9001, '2026-01-15', 1, 2, 10.00)")
    database.sql("delete from public.invoices where invoice_id = 17")
    database.sql("update public.invoices set amount_usd = amount_usd + 1 where invoice_id = 31")
    # From one month to another: gone in the one, not decided in the other.
    database.sql("update public.invoices set issue_date = '2026-03-01' where invoice_id = 33")
    database.sql(
        """update risk.business_day_changes set issued_cents = issued_cents + 1
        where business_id = 5 and day between '2026-02-01' and '2026-02-20'"""
    )
    told = verify(database)
    assert (told.exit_code, told.result["months_differ"]) == (65, 3)
    january, february, march = (months(told)[f"2026-0{n}-01"] for n in (1, 2, 3))
    assert (january["undecided"], january["gone"], january["other_values"]) == ([9001], [17, 33], [31])
    assert (february["source"], february["figures"]) == (february["decided"], [5])
    assert (march["undecided"], march["gone"], march["figures"]) == ([33], [], [])
    assert "not decided: 9001" in told.stderr


def test_a_change_that_is_decided_a_moment_later_is_no_difference(
    kafka: Kafka, database: Database, topic: str
) -> None:
    consume(kafka, database, topic)
    database.sql("insert into public.invoices values (9001, '2026-01-15', 1, 2, 10.00)")
    assert verify(database).exit_code == 65
    row = invoice(9001, START_US + 14 * DAY_US, 1, 2, 1_000)
    task = start_consumer(kafka, database, topic)
    try:
        wait_until(lambda: "partition" in task.stderr_so_far())
        kafka.produce(topic, [(0, None, envelope("c", None, row, 10_000, START_US))])
        done = verify(database, wait=30)
    finally:
        task.send_signal(signal.SIGTERM)
        task.finish()
    assert (done.exit_code, done.result["decided_rows"]) == (0, COUNT + 1), done.stderr


def test_a_withdrawn_invoice_is_no_decision_that_stands(kafka: Kafka, database: Database, topic: str) -> None:
    row = invoice(5, START_US + 5 * DAY_US // 10, 5, 5, 5 * 1_007 - 50_000)
    kafka.produce(topic, [(0, None, envelope("d", row, None, 10_000, START_US))])
    consume(kafka, database, topic)
    told = verify(database)
    assert months(told)["2026-01-01"]["undecided"] == [5]
    database.sql("delete from public.invoices where invoice_id = 5")
    assert verify(database).exit_code == 0


def test_a_source_without_a_log_is_refused(database: Database, tmp_path) -> None:
    flags = ("--source", f"sqlite:{tmp_path}/x.db", "--decisions", database.url(), "--as-of", "2026-03-31")
    told = run("invoice_consumer", "verify", *flags, env=database.env(), check=False)
    assert told.exit_code == 78
    assert "from Postgres alone" in told.stderr
