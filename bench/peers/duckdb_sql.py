"""DuckDB: everything in SQL, reading through its postgres extension."""

from pathlib import Path

import duckdb
import duckdb_extension_postgres_scanner
import job as jobs

BY_MONTH = f"(format parquet, compression zstd, partition_by ({jobs.MONTH_COLUMN}))"

# The distinct pairs are counted apart from the sums: a count(distinct) among the
# aggregates keeps a hash set per group, which made the whole job slower.
STATISTICS = """
create table statistics as
with sides as (
    select issue_date_yearmonth, issuer_id as business_id, receiver_id as other_id,
        issue_date, amount_usd as issued, null as received
    from read_parquet($invoices, hive_partitioning = true)
    union all
    select issue_date_yearmonth, receiver_id, issuer_id, issue_date, null, amount_usd
    from read_parquet($invoices, hive_partitioning = true)
), totals as (
    select issue_date_yearmonth, business_id,
        coalesce(sum(issued), 0)::decimal(18, 2) as total_amount_issued,
        coalesce(sum(received), 0)::decimal(18, 2) as total_amount_received,
        count(issued) as issued_count,
        count(received) as received_count,
        min(issued) as min_amount_issued,
        max(issued) as max_amount_issued,
        min(received) as min_amount_received,
        max(received) as max_amount_received,
        min(issue_date) as first_issue_date,
        max(issue_date) as last_issue_date
    from sides
    group by all
), pairs as (
    select issue_date_yearmonth, business_id, count(*) as counterparties
    from (
        select distinct issue_date_yearmonth, business_id, other_id
        from sides
        where other_id is not null
    )
    group by all
)
select totals.*, coalesce(counterparties, 0) as counterparties
from totals
left join pairs
    on totals.issue_date_yearmonth = pairs.issue_date_yearmonth
    and totals.business_id is not distinct from pairs.business_id
"""

WINDOW = """
select business_id,
    sum(total_amount_issued)::decimal(18, 2) as total_amount_issued,
    sum(total_amount_received)::decimal(18, 2) as total_amount_received,
    sum(issued_count)::bigint as issued_count,
    sum(received_count)::bigint as received_count,
    min(min_amount_issued) as min_amount_issued,
    max(max_amount_issued) as max_amount_issued,
    min(min_amount_received) as min_amount_received,
    max(max_amount_received) as max_amount_received,
    min(first_issue_date) as first_issue_date,
    max(last_issue_date) as last_issue_date
from statistics
group by business_id
"""


def connect(job: jobs.Job) -> duckdb.DuckDBPyConnection:
    """Open DuckDB with the source attached; the extension comes from its package."""
    package = Path(duckdb_extension_postgres_scanner.__file__).parent
    extension = next(package.rglob("postgres_scanner.duckdb_extension"))
    connection = duckdb.connect()
    connection.execute(f"load '{extension}'")
    connection.execute(f"attach '{job.source}' as source (type postgres, read_only)")
    return connection


def write_statistics(connection: duckdb.DuckDBPyConnection, job: jobs.Job) -> None:
    """Write the table `statistics` by month, and what it adds up to over the window."""
    connection.execute(f"copy (from statistics) to '{job.table('invoice_by_business')}' {BY_MONTH}")
    job.output.joinpath("business_last_n_months").mkdir()
    connection.execute(
        f"copy ({WINDOW}) to '{job.table('business_last_n_months')}/part-0.parquet'"
        " (format parquet, compression zstd)"
    )


def main() -> None:
    """Copy the invoices, then group what was copied."""
    job = jobs.from_arguments()
    job.output.mkdir(parents=True, exist_ok=True)
    connection = connect(job)
    connection.execute(f"""
        copy (
            select *, date_trunc('month', issue_date)::date as {jobs.MONTH_COLUMN}
            from source.public.invoices
            where {job.in_window}
        ) to '{job.table("invoices")}' {BY_MONTH}
    """)
    connection.execute(STATISTICS, {"invoices": job.table("invoices") + "/*/*.parquet"})
    write_statistics(connection, job)


if __name__ == "__main__":
    main()
