"""PySpark by JDBC: the GROUP BY is pushed down to the database as a subquery."""

import os
from urllib.parse import unquote, urlsplit

import job as jobs
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

PARTITIONS = 2

STATISTICS = """
    select date_trunc('month', issue_date)::date as issue_date_yearmonth, business_id,
        coalesce(sum(issued), 0)::numeric(18, 2) as total_amount_issued,
        coalesce(sum(received), 0)::numeric(18, 2) as total_amount_received,
        count(issued) as issued_count,
        count(received) as received_count,
        min(issued)::numeric(18, 2) as min_amount_issued,
        max(issued)::numeric(18, 2) as max_amount_issued,
        min(received)::numeric(18, 2) as min_amount_received,
        max(received)::numeric(18, 2) as max_amount_received,
        min(issue_date) as first_issue_date,
        max(issue_date) as last_issue_date,
        count(distinct other_id) as counterparties
    from (
        select issue_date, issuer_id as business_id, receiver_id as other_id,
            amount_usd as issued, null::numeric as received
        from public.invoices where {in_window}
        union all
        select issue_date, receiver_id, issuer_id, null, amount_usd
        from public.invoices where {in_window}
    ) as sides
    group by 1, 2
"""


def session() -> SparkSession:
    """Start Spark on this machine's cores, in the time zone of the data."""
    return (
        SparkSession.builder.master("local[*]")
        .config("spark.jars", os.environ["POSTGRES_JDBC_JAR"])
        .config("spark.driver.memory", "4g")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", PARTITIONS)
        .config("spark.sql.parquet.compression.codec", "zstd")
        .getOrCreate()
    )


def read(spark: SparkSession, job: jobs.Job, query: str, **options: object) -> DataFrame:
    """Read the rows of a query by JDBC."""
    source = urlsplit(job.source)
    return (
        spark.read.format("jdbc")
        .options(
            url=f"jdbc:postgresql://{source.hostname}:{source.port}{source.path}",
            user=unquote(source.username or ""),
            password=unquote(source.password or ""),
            driver="org.postgresql.Driver",
            dbtable=f"({query}) as pushed_down",
            fetchsize=10_000,
            preferTimestampNTZ=True,
            **options,
        )
        .load()
    )


def read_invoices(spark: SparkSession, job: jobs.Job) -> DataFrame:
    """Read the window's invoices over as many connections as there are partitions."""
    window = f"select * from public.invoices where {job.in_window}"
    ids = "select coalesce(min(invoice_id), 0) as low, coalesce(max(invoice_id), 0) + 1 as high"
    bounds = read(spark, job, f"{ids} from public.invoices where {job.in_window}").first()
    return read(
        spark,
        job,
        window,
        partitionColumn="invoice_id",
        lowerBound=bounds.low,
        upperBound=bounds.high,
        numPartitions=PARTITIONS,
    )


def over_window(statistics: DataFrame) -> DataFrame:
    """Merge the months of each business."""
    sums = ["total_amount_issued", "total_amount_received", "issued_count", "received_count"]
    minima = ["min_amount_issued", "min_amount_received", "first_issue_date"]
    maxima = ["max_amount_issued", "max_amount_received", "last_issue_date"]
    return statistics.groupBy("business_id").agg(
        *(f.sum(name).alias(name) for name in sums),
        *(f.min(name).alias(name) for name in minima),
        *(f.max(name).alias(name) for name in maxima),
    )


def close(spark: SparkSession) -> None:
    """Stop Spark and wait for its JVM, so that the bench sees the JVM's CPU and memory."""
    gateway = spark.sparkContext._gateway
    spark.stop()
    gateway.shutdown()
    gateway.proc.stdin.close()
    gateway.proc.wait()


def main() -> None:
    """Write the invoices and the statistics, each from a JDBC read of its own."""
    job = jobs.from_arguments()
    spark = session()
    month = f.trunc("issue_date", "month").alias(jobs.MONTH_COLUMN)
    invoices = read_invoices(spark, job).select("*", month)
    invoices.write.partitionBy(jobs.MONTH_COLUMN).parquet(job.table("invoices"))

    statistics = read(spark, job, STATISTICS.format(in_window=job.in_window)).cache()
    statistics.write.partitionBy(jobs.MONTH_COLUMN).parquet(job.table("invoice_by_business"))
    over_window(statistics).write.parquet(job.table("business_last_n_months"))
    close(spark)


if __name__ == "__main__":
    main()
