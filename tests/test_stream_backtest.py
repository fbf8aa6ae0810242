"""`invoice_consumer backtest`: candidate rules over the features of stored decisions."""

import csv
import json
from pathlib import Path

import pytest

from support.kafka import Kafka
from support.services import REPOSITORY, Database
from support.stream import consume, traffic
from support.tasks import Result, run

DEFAULT_RULES = REPOSITORY / "tasks" / "invoice_consumer" / "rules" / "default.toml"
CANDIDATE = """
[thresholds]
review = 40
block = 80

[[rule]]
id = "large"
score = 45
reason = "large"
when = "amount >= 80000"

[[rule]]
id = "self_invoice"
score = 100
reason = "a business invoices itself"
when = "self_invoice"
"""
STANDING = "from risk.current_decisions where status <> 'withdrawn'"


@pytest.fixture
def decided(kafka: Kafka, database: Database) -> Database:
    """Give each test a database of decisions."""
    topic = kafka.create_topic(f"{database.name}.invoices")
    kafka.produce(topic, traffic(31, 4000))
    consume(kafka, database, topic)
    return database


def backtest(database: Database, rules: Path, *more: object, check: bool = True) -> Result:
    """Judge what is decided by other rules."""
    flags = ("--decisions", database.url(), "--rules", rules, *more)
    return run("invoice_consumer", "backtest", *flags, env=database.env(), check=check)


def test_the_rules_that_decided_change_nothing(decided: Database, tmp_path: Path) -> None:
    changes = tmp_path / "changes.csv"
    told = backtest(decided, DEFAULT_RULES, "--changes", changes).result
    invoices, cents = decided.sql(f"select count(*), sum(amount_cents) {STANDING}")[0]
    assert (told["decisions"], told["changed"], told["other_scores"]) == (invoices, 0, 0)
    assert len(changes.read_text().splitlines()) == 1
    amounts = sum(round(float(moved["amount_usd"]) * 100) for moved in told["moves"].values())
    assert amounts == cents
    for rule, counts in told["by_rule"].items():
        assert counts["before"] == counts["after"], rule


def test_what_changes_is_what_an_engine_with_these_rules_decides(decided: Database, tmp_path: Path) -> None:
    rules, events, changes = tmp_path / "rules.toml", tmp_path / "events.jsonl", tmp_path / "changes.csv"
    rules.write_text(CANDIDATE)
    events.write_bytes(b"".join(value + b"\n" for _, _, value in traffic(31, 4000) if value))
    statuses = {}
    decisions = run("invoice_consumer", "--from", events, "--rules", rules, check=False)
    for line in decisions.stdout.splitlines()[:-1]:
        decision = json.loads(line)
        statuses[decision["invoice_id"]] = decision["status"]
    before = dict(decided.sql(f"select invoice_id, status {STANDING}"))
    expected = {
        number: (status, statuses[number]) for number, status in before.items() if statuses[number] != status
    }
    assert expected
    told = backtest(decided, rules, "--changes", changes, "--connections", 3).result
    with changes.open() as file:
        found = {int(row["invoice_id"]): (row["before"], row["after"]) for row in csv.DictReader(file)}
    assert found == expected
    assert told["changed"] == len(expected)
    moved = sum(1 for change in expected.values() if change == ("approve", "review"))
    assert told["moves"]["approve_to_review"]["invoices"] == moved
    large = decided.sql(f"select count(*) {STANDING} and amount_cents >= 80000")[0][0]
    assert told["by_rule"]["large"]["after"]["invoices"] == large


def test_months_and_labels_bound_and_judge(decided: Database, tmp_path: Path) -> None:
    rules, labels = tmp_path / "rules.toml", tmp_path / "labels.csv"
    rules.write_text(CANDIDATE)
    large = f"select invoice_id {STANDING} and amount_cents >= 80000 and issue_date >= '2026-02-01' limit 10"
    frauds = [number for (number,) in decided.sql(large)]
    labels.write_text("invoice_id,fraud\n" + "".join(f"{number},true\n" for number in frauds))
    told = backtest(decided, rules, "--from", "2026-02", "--to", "2026-02", "--labels", labels).result
    february = "and issue_date >= '2026-02-01' and issue_date < '2026-03-01'"
    assert told["decisions"] == decided.sql(f"select count(*) {STANDING} {february}")[0][0]
    assert list(told["months"]) == ["2026-02-01"]
    after = told["labels"]["after"]
    assert (told["labels"]["frauds"], after["frauds"], after["recall"]) == (10, 10, 1.0)
    assert after["precision"] == round(10 / after["flagged"], 4)


def test_mistakes_are_one_sentence(decided: Database, tmp_path: Path) -> None:
    rules, labels = tmp_path / "rules.toml", tmp_path / "labels.csv"
    rules.write_text(CANDIDATE.replace('when = "self_invoice"', 'when = "onnx_score > 5"'))
    wrong = backtest(decided, rules, check=False)
    assert wrong.exit_code == 2
    assert "decided without an ONNX model" in wrong.stderr
    labels.write_text("number\n7\n")
    wrong = backtest(decided, DEFAULT_RULES, "--labels", labels, check=False)
    assert wrong.exit_code == 78
    assert "no column invoice_id" in wrong.stderr
