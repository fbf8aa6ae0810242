"""DuckDB: the grouped tables only, without the raw one, as somebody would write it who needs no more."""

import duckdb_sql
import job as jobs

INVOICES = """
create temp table invoices as
select date_trunc('month', issue_date)::date as {month}, issuer_id, receiver_id, issue_date, amount_usd
from source.public.invoices
where {in_window}
"""


def main() -> None:
    """Read the invoices into memory and group them there."""
    job = jobs.from_arguments()
    job.output.mkdir(parents=True, exist_ok=True)
    connection = duckdb_sql.connect(job)
    connection.execute(INVOICES.format(month=jobs.MONTH_COLUMN, in_window=job.in_window))
    from_files = "read_parquet($invoices, hive_partitioning = true)"
    connection.execute(duckdb_sql.STATISTICS.replace(from_files, "invoices"))
    duckdb_sql.write_statistics(connection, job)


if __name__ == "__main__":
    main()
