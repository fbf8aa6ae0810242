"""The worked examples of docs/howto/analytics.md, run as they stand there, against answers computed here."""

import csv
import json
import os
import re
import subprocess
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import pytest

from support.oracle import run_batch
from support.services import REPOSITORY, Database
from support.tasks import binary, run

DOCUMENT = REPOSITORY / "docs" / "howto" / "analytics.md"


@pytest.fixture
def results(database: Database, tmp_path: Path) -> Path:
    """Run every shell block of the document, in order, in one folder beside a lake."""
    source = {"SOURCE_URL": database.url(), **database.env()}
    run(
        "populate_tables",
        "--customers",
        25,
        "--invoices",
        2000,
        "--months",
        2,
        "--until",
        "2026-01-31",
        env=source,
    )
    lake = (tmp_path / "lake").as_uri()
    run_batch(source, lake, "2026-01-31", 2)
    folder = tmp_path / "examples"
    folder.mkdir()
    blocks = re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(blocks) == 4
    env = {
        "PATH": f"{binary('query_lake').parent}:{os.environ['PATH']}",
        "LAKE_URL": lake,
        "EXAMPLES": str(REPOSITORY / "docs" / "examples"),
    }
    for block in blocks:
        done = subprocess.run(["bash", "-euc", block], cwd=folder, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return folder


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_the_examples_of_the_document_give_right_answers(results: Path, database: Database) -> None:
    invoices = database.sql(
        "select invoice_id, issue_date, receiver_id, amount_usd from invoices"
        " where issue_date >= '2025-12-01'"
    )
    lines = (results / "ratings.jsonl").read_text().splitlines()
    ratings = [json.loads(line, parse_float=Decimal) for line in lines]
    received: dict[int, Decimal] = defaultdict(Decimal)
    for _, day, receiver, amount in invoices:
        if day.year == 2026:
            received[receiver] += amount
    over = [
        (line["business_id"], line["rating"]["grade"],
         received[line["business_id"]] - line["rating"]["credit_limit"])
        for line in ratings
    ]  # fmt: skip
    expected = sorted((row for row in over if row[2] > 0), key=lambda row: (-row[2], row[0]))
    found = [
        (int(r["business_id"]), r["grade"], Decimal(r["over_limit"]))
        for r in read(results / "over_limit.csv")
    ]
    assert found == expected
    assert found

    amounts = {number: amount for number, _, _, amount in invoices}
    disputed = []
    for path in sorted((results / "tickets").iterdir()):
        text = path.read_text()
        number = int(re.search(r"INV-(\d+)", text)[1])
        claimed = Decimal(re.search(r"USD (-?[\d,]+\.\d\d)", text)[1].replace(",", ""))
        if claimed != amounts[number]:
            disputed.append((path.name, number, amounts[number], claimed))
    found = [
        (row["file"], int(row["invoice_id"]), Decimal(row["amount_usd"]), Decimal(row["claimed"]))
        for row in read(results / "disputed.csv")
    ]
    assert found == disputed
    assert len(found) == 10

    rates = {(r["day"], r["currency"]): Decimal(r["rate"]) for r in read(results / "rates.csv")}
    converted: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for _, day, _, amount in invoices:
        for currency in ("BRL", "EUR", "JPY"):
            month = day.strftime("%Y-%m-01")
            converted[month, currency] += amount * rates[day.date().isoformat(), currency]
    found = {
        (row["issue_date_yearmonth"], row["currency"]): Decimal(row["amount"])
        for row in read(results / "converted.csv")
    }
    assert found == dict(converted)
