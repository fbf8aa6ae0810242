"""Checks, outside the measured time, that a contestant did the whole job and did it right."""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import duckdb

from support.services import Database

STATISTICS = {
    "total_amount_issued": "decimal(18, 2)",
    "total_amount_received": "decimal(18, 2)",
    "issued_count": "bigint",
    "received_count": "bigint",
    "min_amount_issued": "decimal(18, 2)",
    "max_amount_issued": "decimal(18, 2)",
    "min_amount_received": "decimal(18, 2)",
    "max_amount_received": "decimal(18, 2)",
    "first_issue_date": "timestamp",
    "last_issue_date": "timestamp",
}
PER_MONTH = {"business_id": "bigint", **STATISTICS, "counterparties": "bigint"}


@dataclass(frozen=True)
class Source:
    """What the database itself says of a window."""

    rows: int
    total: Decimal


def ask_source(database: Database, in_window: str) -> Source:
    """Count and add up the window in PostgreSQL."""
    query = f"select count(*), coalesce(sum(amount_usd), 0) from invoices where {in_window}"
    return Source(*database.sql(query)[0])


def table(folder: Path, name: str) -> str:
    """Return a result table as DuckDB's table function."""
    return f"read_parquet('{folder / name}/**/*.parquet', hive_partitioning = true)"


def digest(folder: Path, name: str, columns: dict[str, str]) -> tuple[int, int]:
    """Return rows and an order-free hash of a table's values, whatever their physical types."""
    values = ", ".join(f"{column}::{kind}" for column, kind in columns.items())
    query = f"select count(*), sum(hash({values})::hugeint) from {table(folder, name)}"
    return duckdb.sql(query).fetchone()


def totals(folder: Path, name: str) -> tuple[Decimal, Decimal]:
    """Return what a statistics table says was issued and received in all."""
    query = f"""
        select coalesce(sum(total_amount_issued), 0), coalesce(sum(total_amount_received), 0)
        from {table(folder, name)}
    """
    return duckdb.sql(query).fetchone()


def check(folder: Path, source: Source, who: str, has_invoices: bool) -> dict[str, tuple[int, int]]:
    """Compare the tables with the database; return digests to compare among contestants."""
    if has_invoices:
        query = f"select count(*), coalesce(sum(amount_usd), 0) from {table(folder, 'invoices')}"
        wrote = Source(*duckdb.sql(query).fetchone())
        if wrote != source:
            raise SystemExit(f"{who} wrote {wrote}, the database has {source}")
    for name in ("invoice_by_business", "business_last_n_months"):
        for side, total in zip(("issued", "received"), totals(folder, name), strict=True):
            if total != source.total:
                raise SystemExit(f"{who}: {name} has {total} {side}, not {source.total}")
    month = {"issue_date_yearmonth": "date"}
    return {
        "invoice_by_business": digest(folder, "invoice_by_business", month | PER_MONTH),
        "business_last_n_months": digest(
            folder, "business_last_n_months", {"business_id": "bigint", **STATISTICS}
        ),
    }
