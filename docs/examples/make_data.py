"""Make the data of docs/howto/analytics.md: credit ratings, support tickets and exchange rates.

Usage: make_data.py INVOICES.CSV FOLDER. The invoices name the businesses and the invoices that the
tickets are about; everything else follows from a seed, so that the same invoices give the same data.
"""

import csv
import json
import random
import sys
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

GRADES = ("AAA", "AA", "A", "BBB", "BB", "B", "CCC")
CURRENCIES = {"EUR": 853_000, "BRL": 5_402_000, "JPY": 156_100_000}
PHRASES = (
    "Hello, we were charged USD {amount} for invoice INV-{number}. Is that right?",
    "Invoice INV-{number} says something else than our order. We expected USD {amount}.",
    "please check INV-{number}!! our books have USD {amount}",
)


def main(invoices_file: Path, folder: Path) -> None:
    """Write ratings.jsonl, tickets/*.eml and rates.csv into the folder."""
    chance = random.Random(7)
    with invoices_file.open() as file:
        invoices = list(csv.DictReader(file))
    (folder / "tickets").mkdir(parents=True, exist_ok=True)
    write_ratings(folder / "ratings.jsonl", invoices, chance)
    write_tickets(folder / "tickets", invoices, chance)
    write_rates(folder / "rates.csv", invoices, chance)


def write_ratings(path: Path, invoices: list[dict], chance: random.Random) -> None:
    """One line per business: the agency's grade, its limit in cents of a dollar, older grades."""
    businesses = sorted({int(row["receiver_id"]) for row in invoices if row["receiver_id"]})
    with path.open("w") as file:
        for business in businesses:
            # Written by hand, as json would write the limit as a float.
            cents = chance.randrange(100_000, 5_000_000)
            history = json.dumps([chance.choice(GRADES) for _ in range(chance.randrange(4))])
            file.write(
                f'{{"business_id": {business}, "rating": {{"grade": "{chance.choice(GRADES)}",'
                f' "credit_limit": {cents // 100}.{cents % 100:02d}, "reviewed": "2026-01-15"}},'
                f' "history": {history}}}\n'
            )


def write_tickets(folder: Path, invoices: list[dict], chance: random.Random) -> None:
    """Mails about some invoices; every third has an amount that is not the invoice's."""
    for ticket, row in enumerate(chance.sample(invoices, min(30, len(invoices)))):
        amount = Decimal(row["amount_usd"])
        if ticket % 3 == 0:
            amount += chance.randrange(1, 500)
        text = chance.choice(PHRASES).format(amount=f"{amount:,.2f}", number=row["invoice_id"])
        (folder / f"{ticket:04d}.eml").write_text(
            f"From: customer{ticket}@example.com\nTo: support@example.com\nSubject: Question {ticket}\n"
            f"Date: Mon, 2 Feb 2026 09:{ticket:02d}:00 +0000\n\n{text}\n"
        )


def write_rates(path: Path, invoices: list[dict], chance: random.Random) -> None:
    """A rate per currency and day, six digits after the point."""
    days = sorted(date.fromisoformat(row["issue_date"][:10]) for row in invoices)
    with path.open("w") as file:
        file.write("day,currency,rate\n")
        for offset in range((days[-1] - days[0]).days + 1):
            for currency, start in CURRENCIES.items():
                rate = start + chance.randrange(start // 50)
                file.write(f"{days[0] + timedelta(offset)},{currency},{rate // 10**6}.{rate % 10**6:06d}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
