"""Peer: Spark Structured Streaming parses each event and inserts it by JDBC. It decides nothing.

Its time is from the first micro-batch's begin to the last one's end, so neither the start of the JVM
nor the planning of the query count.
"""

import json
import os
import sys
import time

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

BATCH = 100_000
EVENT = """
    struct<source: struct<lsn: bigint>,
        after: struct<invoice_id: bigint, issue_date: bigint, issuer_id: bigint, receiver_id: bigint,
            amount_usd: string>>
"""


def main() -> None:
    """Read the topic to its end; print events and seconds."""
    bootstrap, topic, host, database, user = sys.argv[1:6]
    spark = (
        SparkSession.builder.master("local[*]")
        .config("spark.jars", os.environ["SPARK_JARS"])
        .config("spark.driver.memory", "2g")
        .config("spark.ui.enabled", "false")
        .config("spark.log.level", "ERROR")
        .getOrCreate()
    )
    times: list[float] = []

    def insert(rows: DataFrame, _: int) -> None:
        times.append(time.monotonic())
        rows.write.format("jdbc").options(
            url=f"jdbc:postgresql://{host}/{database}?reWriteBatchedInserts=true", user=user,
            password=os.environ["PGPASSWORD"], driver="org.postgresql.Driver", dbtable="parsed_by_spark",
            batchsize=10_000, isolationLevel="READ_COMMITTED",
        ).mode("append").save()  # fmt: skip
        times.append(time.monotonic())

    messages = (
        spark.readStream.format("kafka")
        .options(**{
            "kafka.bootstrap.servers": bootstrap, "subscribe": topic, "startingOffsets": "earliest",
            "maxOffsetsPerTrigger": BATCH, "minPartitions": 2,
        })
        .load()
    )  # fmt: skip
    event = f.from_json(f.col("value").cast("string"), EVENT)
    rows = messages.select(event.alias("event")).select(
        "event.after.invoice_id", "event.after.issue_date", "event.after.issuer_id",
        "event.after.receiver_id", f.col("event.after.amount_usd").cast("decimal(18, 2)").alias("amount"),
        f.col("event.source.lsn").alias("lsn"),
    )  # fmt: skip
    query = rows.writeStream.foreachBatch(insert).trigger(availableNow=True).start()
    query.awaitTermination()
    done = sum(progress["numInputRows"] for progress in query.recentProgress)
    print(json.dumps({"seconds": times[-1] - times[0], "events": done}))
    gateway = spark.sparkContext._gateway
    spark.stop()
    gateway.shutdown()
    # Its JVM's time and memory are counted when somebody has waited for it.
    gateway.proc.stdin.close()
    gateway.proc.wait()


if __name__ == "__main__":
    main()
