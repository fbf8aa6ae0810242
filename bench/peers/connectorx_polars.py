"""ConnectorX and Polars from Python: all rows into memory, then grouped and written."""

import connectorx
import job as jobs
import polars as pl
from polars import col

PARTITIONS = 2
MONTH = jobs.MONTH_COLUMN


def read_invoices(job: jobs.Job) -> pl.DataFrame:
    """Read the window; cents travel as integers, since ConnectorX would make floats of decimals."""
    query = f"""
        select invoice_id, issue_date, issuer_id, receiver_id,
            (amount_usd * 100)::int8 as amount_cents
        from public.invoices
        where {job.in_window}
    """
    return connectorx.read_sql(
        job.source.replace("postgres://", "postgresql://", 1),
        query,
        return_type="polars",
        partition_on="invoice_id",
        partition_num=PARTITIONS,
    )


def money(cents: pl.Expr) -> pl.Expr:
    """Turn integer cents into an exact decimal."""
    return (cents.cast(pl.Decimal(18, 2)) / pl.lit(100, pl.Decimal(18, 0))).cast(pl.Decimal(18, 2))


def side(invoices: pl.LazyFrame, name: str, business: str, other: str) -> pl.LazyFrame:
    """Group one side of the invoices by month and business."""
    amount = col("amount_cents")
    return (
        invoices.group_by(MONTH, business)
        .agg(
            amount.sum().alias(f"total_amount_{name}"),
            pl.len().cast(pl.Int64).alias(f"{name}_count"),
            amount.min().alias(f"min_amount_{name}"),
            amount.max().alias(f"max_amount_{name}"),
            col("issue_date").min().alias("first_issue_date"),
            col("issue_date").max().alias("last_issue_date"),
        )
        .rename({business: "business_id"})
    )


def counterparties(invoices: pl.LazyFrame) -> pl.LazyFrame:
    """Count the distinct businesses on the other side of each month and business, both sides together."""
    ends = [("issuer_id", "receiver_id"), ("receiver_id", "issuer_id")]
    pairs = [
        invoices.select(MONTH, col(own).alias("business_id"), col(other).alias("other_id"))
        for own, other in ends
    ]
    return (
        pl.concat(pairs)
        .filter(col("other_id").is_not_null())
        .unique()
        .group_by(MONTH, "business_id")
        .agg(pl.len().cast(pl.Int64).alias("counterparties"))
    )


def merged(parts: pl.LazyFrame, *keys: str) -> pl.LazyFrame:
    """Merge partial statistics that share their keys."""
    sums = ["total_amount_issued", "total_amount_received", "issued_count", "received_count"]
    minima = ["min_amount_issued", "min_amount_received", "first_issue_date"]
    maxima = ["max_amount_issued", "max_amount_received", "last_issue_date"]
    return parts.group_by(*keys).agg(col(*sums).sum(), col(*minima).min(), col(*maxima).max())


def in_dollars(statistics: pl.LazyFrame) -> pl.LazyFrame:
    """Give the amounts of a result table their decimal type."""
    return statistics.with_columns(money(col("^.*_amount_.*$")))


def write(table: pl.LazyFrame, job: jobs.Job, name: str) -> None:
    """Write one table, a folder per month."""
    table.sink_parquet(pl.PartitionBy(job.table(name), key=MONTH, include_key=False), mkdir=True)


def main() -> None:
    """Read once, group in memory, write three tables."""
    job = jobs.from_arguments()
    invoices = (
        read_invoices(job).lazy().with_columns(col("issue_date").dt.truncate("1mo").dt.date().alias(MONTH))
    )
    raw = invoices.with_columns(money(col("amount_cents")).alias("amount_usd"))
    write(raw.drop("amount_cents"), job, "invoices")

    sides = [
        side(invoices, "issued", "issuer_id", "receiver_id"),
        side(invoices, "received", "receiver_id", "issuer_id"),
    ]
    totals = merged(pl.concat(sides, how="diagonal"), MONTH, "business_id")
    by_month = totals.collect(engine="streaming").lazy()
    with_pairs = by_month.join(
        counterparties(invoices), on=[MONTH, "business_id"], how="left", nulls_equal=True
    ).with_columns(col("counterparties").fill_null(0))
    write(in_dollars(with_pairs), job, "invoice_by_business")

    window = in_dollars(merged(by_month, "business_id"))
    window.sink_parquet(f"{job.table('business_last_n_months')}/part-0.parquet", mkdir=True)


if __name__ == "__main__":
    main()
