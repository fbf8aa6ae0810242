"""What the published tables must hold, in plain SQL run by Postgres itself, and how to read them."""

from pathlib import Path

import duckdb

from support.services import Database
from support.tasks import Result, run

COLUMNS = (
    "business_id",
    "total_amount_issued",
    "total_amount_received",
    "issued_count",
    "received_count",
    "min_amount_issued",
    "max_amount_issued",
    "min_amount_received",
    "max_amount_received",
    "first_issue_date",
    "last_issue_date",
)

# One row per business and side: an invoice counts once for its issuer, once for its receiver.
SIDES = """
    with sides as (
        select issuer_id as b, receiver_id as other, amount_usd as a, issue_date as d, true as issued
        from {table}
        union all
        select receiver_id, issuer_id, amount_usd, issue_date, false from {table}
    )
"""
STATISTICS = """
    b, coalesce(sum(a) filter (where issued), 0), coalesce(sum(a) filter (where not issued), 0),
    count(*) filter (where issued), count(*) filter (where not issued),
    min(a) filter (where issued), max(a) filter (where issued),
    min(a) filter (where not issued), max(a) filter (where not issued), min(d), max(d)
"""


def expected_months(database: Database, first: str, end: str, table: str = "invoices") -> list:
    """Compute month, statistics and counterparties for every business and month of a window."""
    return database.sql(
        SIDES.format(table=table)
        + f"""select date_trunc('month', d)::date, {STATISTICS}, count(distinct other)
              from sides where d >= %s::date and d < %s::date
              group by 1, 2 order by 1, 2 nulls last""",
        first,
        end,
    )


def expected_window(database: Database, first: str, end: str, table: str = "invoices") -> list:
    """Compute the statistics over the whole window."""
    return database.sql(
        SIDES.format(table=table)
        + f"""select {STATISTICS} from sides where d >= %s::date and d < %s::date
              group by 1 order by 1 nulls last""",
        first,
        end,
    )


def published_months(lake: Path, business: str = "bigint") -> list:
    """Read `invoice_by_business` as DuckDB sees it, whatever its partitioning, ids being `business`."""
    files = f"{lake}/invoice_by_business/**/*.parquet"
    objects = list(lake.glob("invoice_by_business/**/*.parquet"))
    if not objects:
        return []
    types = "'issue_date_yearmonth': date"
    if any(path.parent.name.startswith("business_id=") for path in objects):
        types += f", 'business_id': {business}"
    return duckdb.sql(
        f"""select issue_date_yearmonth, {", ".join(COLUMNS)}, counterparties
            from read_parquet('{files}', hive_partitioning = true, union_by_name = true,
                 hive_types = {{{types}}})
            order by 1, 2 nulls last"""
    ).fetchall()


def published_window(lake: Path, as_of: str, months: int) -> list:
    """Read one window of `business_last_n_months`."""
    file = f"{lake}/business_last_n_months/as_of={as_of}/months={months}/part-0.parquet"
    return duckdb.sql(
        f"select {', '.join(COLUMNS)} from read_parquet('{file}', hive_partitioning = false)"
        " order by 1 nulls last"
    ).fetchall()


def invoices_in(lake: Path) -> list:
    """Read the table `invoices` of a lake, in id order."""
    return duckdb.sql(
        f"""select invoice_id, issue_date, issuer_id, receiver_id, amount_usd
            from read_parquet('{lake}/invoices/**/*.parquet', hive_partitioning = true)
            order by 1"""
    ).fetchall()


def run_batch(source: dict, lake: str, as_of: str, months: int, **options: object) -> list[Result]:
    """Run the three tasks one after the other; `source` is their environment.

    Options go to the task they belong to: `query`, `write` are lists of further flags, `env` is
    more environment.
    """
    environment = source | dict(options.get("env", {}))
    window = ["--lake", lake, "--as-of", as_of, "--months", months]
    return [
        run("query_source", *window, *options.get("query", []), env=environment),
        run("aggregate_by_business", *window, env=environment),
        run("write_partitioned_parquet", *window, *options.get("write", []), env=environment),
    ]
