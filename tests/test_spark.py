"""`--engine spark`: what a cluster groups is what Polars groups, byte for byte, on Spark 4 and on Sail."""

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from support.flaky_s3 import FlakyS3
from support.oracle import expected_months, expected_window, published_months, published_window
from support.process import free_port
from support.services import Bucket, Database, Postgres, new_certificates
from support.spark import ConnectServer, Sail, Spark, TlsFront
from support.tasks import Result, run, start

RETAIL = Path(__file__).parents[1].parent / "shared" / "data" / "online_retail"
AS_OF, MONTHS = "2026-02-28", 4
WINDOW = ("--as-of", AS_OF, "--months", MONTHS)
TABLE = ("--table", "odd")
JANUARY = "issue_date_yearmonth=2026-01-01"
STAGED = f"_staging/invoice_by_business/{JANUARY}/part-0.parquet"

# Amounts of all signs up to the limit of the type; parties that are NULL, each other, or themselves; ids from
# end to end of theirs; months from their first microsecond to their last. December has no invoices at all.
ODD = """
    create table odd (invoice_id bigint primary key, issue_date timestamp,
                      issuer_id bigint, receiver_id bigint, amount_usd numeric(18, 2));
    insert into odd select n,
        case n % 7 when 0 then first when 1 then first + interval '1 month' - interval '1 microsecond'
             else first + (n * 4999 % 2000000) * interval '1.000001 second' end,
        party[1 + n / 3 % 11], party[1 + n / 7 % 12],
        (array[0, 0.01, -0.01, 9999999999999999.99, -9999999999999999.99, 12.34, -1000, n])[1 + n / 5 % 8]
    from generate_series(1, 3000) n,
        lateral (select (array['2025-11-01', '2026-01-01', '2026-02-01'])[1 + n % 3]::timestamp as first,
            array[null, 1, 2, 3, -4, 5, 9223372036854775807, -9223372036854775807, 4294967296, 7, 8, 9]
                ::bigint[] as party) as choices;
"""


@pytest.fixture(scope="module")
def spark() -> Iterator[Spark]:
    """One Spark 4 for the module; its first answer takes seconds."""
    with Spark() as server:
        yield server


@pytest.fixture(scope="module")
def sail() -> Iterator[Sail]:
    """One Sail for the module."""
    with Sail() as server:
        yield server


@pytest.fixture(params=["spark", "sail"])
def cluster(request: pytest.FixtureRequest) -> ConnectServer:
    """Each of the two."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def odd(postgres: Postgres) -> Iterator[Database]:
    """A source with the odd invoices."""
    database = postgres.create_database()
    database.sql(ODD)
    yield database
    database.drop()


@pytest.fixture(scope="module")
def filled(odd: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lake of the odd invoices, before any aggregation."""
    lake = tmp_path_factory.mktemp("odd") / "lake"
    extract(odd, lake.as_uri())
    return lake


@pytest.fixture
def lake(filled: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(filled, tmp_path / "lake"))


class Counted(FlakyS3):
    """A proxy that passes everything on, and remembers how much of invoices it has sent."""

    def __init__(self, endpoint: str) -> None:
        """Count from nothing."""
        super().__init__(endpoint, lambda *_: None)
        self.bodies: list[int] = []

    def answer(
        self,
        request: BaseHTTPRequestHandler,
        status: int,
        headers: dict,
        body: bytes,
        cut: bool = False,
    ) -> None:
        """Count, then answer."""
        if request.command == "GET" and "/part-0.parquet" in request.path and "/invoices/" in request.path:
            self.bodies.append(len(body))
        super().answer(request, status, headers, body, cut)


def extract(database: Database, lake: str, **env: str) -> None:
    """Read the window from the source."""
    source = {"SOURCE_URL": database.url(), **database.env()}
    run("query_source", "--lake", lake, *WINDOW, *TABLE, env=source | env)


def aggregate(lake: Path | str, *flags: object, window: tuple = WINDOW, **options: object) -> Result:
    """Run the task."""
    url = lake if isinstance(lake, str) else lake.as_uri()
    return run("aggregate_by_business", "--lake", url, *window, *flags, **options)


def on(cluster: ConnectServer | str) -> tuple[str, ...]:
    """Return the flags that send the grouping to a cluster."""
    remote = cluster if isinstance(cluster, str) else cluster.remote
    return ("--engine", "spark", "--spark-remote", remote)


def contents(lake: Path, *folders: str) -> dict[str, bytes]:
    """Read the objects of some folders."""
    return {
        str(path.relative_to(lake)): path.read_bytes()
        for folder in folders
        for path in sorted((lake / folder).rglob("*.parquet"))
    }


def records(lake: Path) -> dict[str, dict]:
    """Read the commit records of what was staged, without their times and the objects' entity tags."""
    found = {}
    for path in sorted((lake / "_commits").glob("staged_*/**/*.json")):
        record = json.loads(path.read_text())
        del record["committed_at"]
        record["objects"] = [(one["path"], one["size"]) for one in record["objects"]]
        # The window's inputs are the months' objects, which are new.
        record["inputs"] = sorted(record["inputs"])
        found[str(path.relative_to(lake))] = record
    return found


def everything(
    lake: Path, *flags: object, window: tuple = WINDOW, partition_by: str = "month,business_id"
) -> tuple[Result, dict, dict, dict]:
    """Aggregate and publish from nothing; return result, staged and published objects, and records."""
    for folder in ("_staging", "_commits/staged_invoice_by_business", "invoice_by_business"):
        shutil.rmtree(lake / folder, ignore_errors=True)
    shutil.rmtree(lake / "_commits" / "staged_business_last_n_months", ignore_errors=True)
    done = aggregate(lake, *flags, window=window)
    run("write_partitioned_parquet", "--lake", lake.as_uri(), *window, "--partition-by", partition_by)
    published = contents(lake, "invoice_by_business", "business_last_n_months")
    return done, contents(lake, "_staging"), published, records(lake)


def test_a_cluster_stages_and_publishes_polars_bytes(
    cluster: ConnectServer, odd: Database, lake: Path
) -> None:
    by_polars, staged, published, committed = everything(lake)
    by_spark, *others = everything(lake, *on(cluster))
    assert (by_polars.result["engine"], by_spark.result["engine"]) == ("polars", "spark")
    same = ("rows", "amount_usd", "businesses", "bytes", "months_written", "months_emptied")
    assert [by_spark.result[name] for name in same] == [by_polars.result[name] for name in same]
    assert (by_spark.result["months_written"], by_spark.result["months_emptied"]) == (3, 1)
    # Rows first: a difference in them says more than one in bytes.
    window = (odd, "2025-11-01", "2026-03-01", "odd")
    assert published_months(lake) == expected_months(*window)
    assert published_window(lake, "2026-02-01", MONTHS) == expected_window(*window)
    assert others == [staged, published, committed]
    assert len(staged) == 4
    assert len(published) > 30


def test_texts_are_grouped_alike(cluster: ConnectServer, odd: Database, tmp_path: Path) -> None:
    """Ids of businesses that are no numbers, in an order that no collation decides."""
    odd.sql("""
        drop table if exists texts;
        create table texts as select invoice_id, issue_date,
            (array['a/b', 'A', 'ñ', '', '7', '007'])[1 + abs(issuer_id) % 6] as issuer_id,
            nullif(receiver_id, 5)::text as receiver_id, amount_usd from odd
    """)
    source = {"SOURCE_URL": odd.url(), **odd.env()}
    run("query_source", "--lake", tmp_path.as_uri(), *WINDOW, "--table", "texts", env=source)
    _, *by_polars = everything(tmp_path, partition_by="month,bucket(business_id,4)")
    _, *by_spark = everything(tmp_path, *on(cluster), partition_by="month,bucket(business_id,4)")
    assert by_spark == by_polars
    assert len(by_polars[1]) > 10


def test_months_are_skipped_whichever_engine_grouped_them(cluster: ConnectServer, lake: Path) -> None:
    nobody = f"sc://127.0.0.1:{free_port()}"
    aggregate(lake)
    # Nothing is left to do, so no cluster is asked either.
    assert aggregate(lake, *on(nobody)).result["months_unchanged"] == MONTHS
    (lake / STAGED).unlink()
    assert aggregate(lake, *on(cluster)).result["months_written"] == 1
    before = contents(lake, "_staging")
    done = aggregate(lake).result
    assert (done["months_unchanged"], done["window_written"], done["bytes"]) == (MONTHS, False, 0)
    assert contents(lake, "_staging") == before


def test_a_replaced_month_is_read_anew_by_a_cluster_that_has_read_it(
    cluster: ConnectServer, database: Database, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    database.sql(ODD)
    extract(database, lake.as_uri())
    aggregate(lake, *on(cluster))
    database.sql("update odd set amount_usd = -amount_usd where issue_date >= '2026-01-01'")
    extract(database, lake.as_uri())
    assert aggregate(lake, *on(cluster)).result["months_written"] == 2
    run("write_partitioned_parquet", "--lake", lake.as_uri(), *WINDOW)
    assert published_months(lake) == expected_months(database, "2025-11-01", "2026-03-01", "odd")


def test_a_cluster_with_another_time_zone_shifts_no_date(lake: Path) -> None:
    """And what it was doing ends with the task, whether the server then answers, hangs or dies."""
    settings = {
        "spark.sql.session.timeZone": "Pacific/Kiritimati",
        # Spark then takes the file's dates for instants, which are shown in the session's time zone.
        "spark.sql.parquet.inferTimestampNTZ.enabled": "false",
        # And sums that overflow become NULL.
        "spark.sql.ansi.enabled": "false",
    }
    _, staged, _, _ = everything(lake)
    with Spark(settings) as server:
        assert everything(lake, *on(server))[1] == staged

        (lake / STAGED).unlink()
        server.process.send_signal(signal.SIGSTOP)
        hanging = [
            start("aggregate_by_business", "--lake", lake.as_uri(), *WINDOW, *on(server)) for _ in "ab"
        ]
        time.sleep(1)
        assert all(task.poll() is None for task in hanging)
        hanging[0].send_signal(signal.SIGTERM)
        stopped = hanging[0].finish(timeout=10)
        assert (stopped.exit_code, stopped.result["status"]) == (75, "failed")
        assert "stopped by a signal" in stopped.result["error"]
        server.process.kill()
        lost = hanging[1].finish(timeout=20)
        assert lost.exit_code == 75
        assert f"no connection to Spark at 127.0.0.1:{server.port}" in lost.result["error"]
    assert not (lake / STAGED).exists()
    assert aggregate(lake).result["months_written"] == 1


def test_sail_groups_a_lake_in_s3_and_the_task_reads_footers_alone(
    bucket: Bucket, database: Database, tmp_path: Path
) -> None:
    source = {"SOURCE_URL": database.url(), **database.env()}
    run(
        "populate_tables",
        "--customers",
        40,
        "--invoices",
        40_000,
        "--months",
        1,
        "--until",
        AS_OF,
        env=source,
    )
    month = ("--as-of", AS_OF, "--months", 1)
    run("query_source", "--lake", bucket.url, *month, env=source | bucket.env)
    [key] = bucket.keys("invoices/")
    size = len(bucket.read(key))
    assert size > 3 * 65536
    with Sail(bucket.env) as server, Counted(bucket.env["AWS_ENDPOINT_URL"]) as proxy:
        near = bucket.env | {"AWS_ENDPOINT_URL": proxy.endpoint}
        by_spark = aggregate(bucket.url, *on(server), window=month, env=near)
    assert by_spark.result["rows"] == 40_000
    assert proxy.bodies == [65536]
    staged = {name: bucket.read(name) for name in bucket.keys("_staging/")}
    copy = bucket.download(tmp_path / "lake", "invoices/")
    aggregate(copy, window=month)
    assert contents(copy, "_staging") == staged


@pytest.mark.parametrize(
    ("flags", "exit_code", "error"),
    [
        (("--engine", "spark"), 2, "--engine spark needs a cluster; give it with --spark-remote sc://host"),
        (on("http://127.0.0.1:1"), 2, "is not one of Spark Connect; use sc://host:port"),
        (on("sc://127.0.0.1:x"), 2, "is not one of Spark Connect; use sc://host:port"),
        (on("sc://127.0.0.1:1/;token=c4nary"), 2, "--spark-remote holds a token that every user"),
        (on("sc://u:c4nary@127.0.0.1:1"), 2, "--spark-remote holds a password that every user"),
        (on("sc://127.0.0.1:1"), 75, "no connection to Spark at 127.0.0.1:1; check that its Connect server"),
    ],
)
def test_errors_that_need_no_cluster(lake: Path, flags: tuple, exit_code: int, error: str) -> None:
    done = aggregate(lake, *flags, check=False)
    assert done.exit_code == exit_code, done.stderr
    assert error in done.result["error"]
    assert "c4nary" not in done.stdout + done.stderr
    assert not (lake / STAGED).exists()


def test_a_token_in_the_environment_is_not_printed(lake: Path) -> None:
    for remote in (
        "sc://spark.example:1/;token=c4nary",
        "sc://127.0.0.1:1/;token=c4nary",
        "sc://:1/;token=c4nary",
    ):
        env = {"SPARK_REMOTE": remote, "RUST_LOG": "debug"}
        done = aggregate(lake, "--engine", "spark", check=False, env=env)
        assert done.exit_code in (2, 75), done.stderr
        helped = run("aggregate_by_business", "--help", check=False, env=env)
        for text in (done.stdout, done.stderr, helped.stdout):
            assert "c4nary" not in text


def test_tls_is_verified_and_a_token_goes_by_tls_alone(sail: Sail, lake: Path, tmp_path: Path) -> None:
    new_certificates(lambda *command: subprocess.run(command, check=True, capture_output=True), tmp_path)
    front = TlsFront(sail, tmp_path)

    def by(host: str, options: str, **env: str) -> Result:
        url = f"sc://{host}:{front.port}/;{options}"
        return aggregate(lake, "--engine", "spark", env=env | {"SPARK_REMOTE": url}, check=False)

    trusted = {"SSL_CERT_FILE": str(tmp_path / "ca.pem")}
    for host, env in (("localhost", {}), ("127.0.0.1", trusted)):
        done = by(host, "use_ssl=true", **env)
        assert done.exit_code == 78, done.stderr
        assert "no TLS connection to Spark" in done.result["error"]
    done = by("spark.example", "token=c4nary")
    assert done.exit_code == 2
    assert "sc://host:port/;use_ssl=true;token=" in done.result["error"]
    assert by("localhost", "use_ssl=true;token=c4nary", **trusted).result["months_written"] == 3


def test_a_cluster_that_cannot_read_the_lake_is_a_matter_of_configuration(
    cluster: ConnectServer, lake: Path
) -> None:
    # Spark has no connector for S3 here, and Sail no such bucket.
    for place in ("file:///nowhere", "s3a://127.0.0.1.nowhere.invalid", "unknown://lake"):
        if isinstance(cluster, Sail) and place.startswith("s3a"):
            continue
        done = aggregate(lake, *on(cluster), "--spark-lake", place, check=False)
        assert done.exit_code == 78, done.stderr
        error = done.result["error"]
        assert re.search(f"cannot read {place}/invoices/.*check that --spark-lake is the lake's URL", error)
        assert "\tat " not in error
        assert "stacktrace" not in error
        assert len(error) < 600
    assert not (lake / STAGED).exists()


def test_a_cluster_that_reads_another_lake_is_found_out(
    cluster: ConnectServer, database: Database, lake: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    database.sql(ODD)
    database.sql("update odd set amount_usd = 1 - amount_usd where invoice_id = 1")
    extract(database, other.as_uri())
    done = aggregate(lake, *on(cluster), "--spark-lake", other.as_uri(), check=False)
    assert done.exit_code == 65, done.stderr
    assert "nothing was written" in done.result["error"]
    # A run that failed may have staged other months, which are right.
    aggregate(lake)
    assert (lake / STAGED).exists()


def test_real_data_is_grouped_alike(spark: Spark, sail: Sail, database: Database, tmp_path: Path) -> None:
    if not RETAIL.exists():
        pytest.skip("../shared/data is not beside this checkout: the real data is NOT tested")
    source = {"SOURCE_URL": database.url(), **database.env()}
    window = ("--as-of", "2011-12-31", "--months", 13)
    run("populate_tables", "--customers-csv", RETAIL / "customers.csv",
        "--invoices-csv", RETAIL / "invoices.csv", "--until", "2011-12-31", env=source)  # fmt: skip
    run("query_source", "--lake", tmp_path.as_uri(), *window, env=source)
    _, *by_polars = everything(tmp_path, window=window, partition_by="month")
    assert len(by_polars[1]) > 13
    for server in (spark, sail):
        done, *by_spark = everything(tmp_path, *on(server), window=window, partition_by="month")
        assert Decimal(done.result["amount_usd"]) == Decimal("9747747.93")
        assert by_spark == by_polars
