"""DuckDB: the staged statistics of a folder as one object per month and business, into S3."""

import os
import sys
from pathlib import Path

import duckdb
import duckdb_extension_httpfs


def main() -> None:
    """Write `TABLE/issue_date_yearmonth=…/business_id=…` below the second argument."""
    staged, target = Path(sys.argv[1]), sys.argv[2]
    package = Path(duckdb_extension_httpfs.__file__).parent
    connection = duckdb.connect()
    connection.execute(f"load '{next(package.rglob('httpfs.duckdb_extension'))}'")
    endpoint = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
    connection.execute(
        "create secret (type s3, key_id $key, secret $secret, endpoint $endpoint,"
        " url_style 'path', use_ssl false, region 'us-east-1')",
        {
            "key": os.environ["AWS_ACCESS_KEY_ID"],
            "secret": os.environ["AWS_SECRET_ACCESS_KEY"],
            "endpoint": endpoint,
        },
    )
    connection.execute(
        f"copy (from read_parquet('{staged}/_staging/invoice_by_business/*/*.parquet',"
        f" hive_partitioning = true)) to '{target}/invoice_by_business' (format parquet,"
        " compression zstd, partition_by (issue_date_yearmonth, business_id))"
    )


if __name__ == "__main__":
    main()
