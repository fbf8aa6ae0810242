"""Nothing lost, nothing half-done: crashes, races and broken services on purpose.

`make test` runs a seeded sample, `make faults` the whole campaign (FAULTS=all) and prints counts.
"""

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pyarrow
import pyarrow.parquet
import pytest

from support.campaign import CAMPAIGN
from support.flaky_s3 import FlakyS3
from support.oracle import expected_months, expected_window, published_months, published_window
from support.services import Bucket, Database, Minio, Postgres
from support.tasks import Result, Task, run, start

pytestmark = pytest.mark.faults

RANDOM_KILLS = 200 if CAMPAIGN else 8
ROWS = 6_000
WINDOW = ("--as-of", "2025-03-31", "--months", "3")
TASKS = ("query_source", "aggregate_by_business", "write_partitioned_parquet")
FAILPOINTS = {
    "query_source": ["after_snapshot", "reading", "after_extract", "before_put", "after_put",
                     "before_record", "after_record"],
    "aggregate_by_business": ["before_put", "before_record", "after_record"],
    "write_partitioned_parquet": ["before_put", "between_puts", "before_delete", "before_record",
                                  "after_record"],
}  # fmt: skip
PREFIX = {"query_source": "query", "aggregate_by_business": "aggregate",
          "write_partitioned_parquet": "write"}  # fmt: skip


@pytest.fixture
def filled(database: Database) -> Database:
    """Three months in which every invoice has the amount 1.00."""
    database.sql("insert into customers select n, 'x' from generate_series(1, 20) n")
    # 2,000 invoices in each month.
    database.sql(
        f"""insert into invoices
            select n, date '2025-01-01' + n % 3 * interval '1 month' + n % 28 * interval '1 day',
                   1 + n % 20, 1 + n % 7, 1 from generate_series(1, {ROWS}) n"""
    )
    return database


def environment(database: Database, **more: str) -> dict[str, str]:
    return {"SOURCE_URL": database.url(), **database.env(), **more}


def pipeline(database: Database, lake: str, env: dict | None = None, **options: object) -> None:
    for task in TASKS:
        run(task, "--lake", lake, *WINDOW, env=environment(database, **(env or {})), **options)


def assert_right(database: Database, lake: Path, bucket: Bucket | None = None) -> None:
    """The published tables equal the oracle, and `verify` finds nothing; a bucket is downloaded first."""
    url, env = lake.as_uri(), environment(database)
    if bucket:
        bucket.download(lake)
        url, env = bucket.url, env | bucket.env
    assert published_months(lake) == expected_months(database, "2025-01-01", "2025-04-01")
    window = expected_window(database, "2025-01-01", "2025-04-01")
    assert published_window(lake, "2025-03-01", 3) == window
    assert run("inspect_lake", "verify", "--lake", url, *WINDOW, env=env).result["status"] == "done"


class Readers(threading.Thread):
    """Poll every published object: each must be whole, and all its invoices of one state.

    The source alternates between states in which all amounts are the same, so an object that mixes
    states or lacks rows shows at once.
    """

    def __init__(self, lake: Path) -> None:
        """Prepare; start() polls until stop is set."""
        super().__init__(daemon=True)
        self.lake, self.stop = lake, threading.Event()
        self.polls, self.wrong = 0, []

    def run(self) -> None:
        """Read all objects again and again; a reader that breaks is a failure too."""
        try:
            self.poll(duckdb.connect())
        except Exception as error:
            self.wrong.append(f"the reader broke: {error}")

    def poll(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Read all objects until told to stop."""
        while not self.stop.is_set():
            for path in self.lake.glob("invoice*/**/*.parquet"):
                try:
                    body = path.read_bytes()
                except FileNotFoundError:
                    continue  # removed between listing and opening
                self.check(connection, path, body)
            self.polls += 1

    def check(self, connection: duckdb.DuckDBPyConnection, path: Path, body: bytes) -> None:
        """All amounts of an object, as it was when it was opened, are of one state."""
        rows = pyarrow.parquet.read_table(pyarrow.BufferReader(body))
        if "invoice_by_business" in path.parts:
            each = "total_amount_issued / nullif(issued_count, 0)"
            query = f"select count(distinct {each}) from rows"
        else:
            query = f"select count(distinct amount_usd) + (count(*) <> {ROWS // 3})::int from rows"
        (states,) = connection.register("rows", rows).execute(query).fetchone()
        if states > 1:
            self.wrong.append(f"{path} mixes {states} states")


@pytest.fixture
def readers(tmp_path: Path) -> Iterator[Readers]:
    """Readers that poll throughout the test."""
    readers = Readers(tmp_path)
    readers.start()
    yield readers
    readers.stop.set()
    readers.join(30)
    assert readers.wrong == []
    assert readers.polls > 0


@pytest.mark.parametrize(("task", "point"), [(task, point) for task in TASKS for point in FAILPOINTS[task]])
def test_a_crash_at_any_stage_leaves_whole_partitions_and_a_rerun_converges(
    filled: Database, tmp_path: Path, readers: Readers, task: str, point: str
) -> None:
    lake = tmp_path.as_uri()
    pipeline(filled, lake)
    filled.sql("update invoices set amount_usd = 2")
    for before in TASKS[: TASKS.index(task)]:
        run(before, "--lake", lake, *WINDOW, env=environment(filled))
    crashed = run(task, "--lake", lake, *WINDOW, env=environment(filled), check=False,
                  failpoints=f"{PREFIX[task]}::{point}=return")  # fmt: skip
    assert crashed.exit_code == -signal.SIGABRT, crashed.stderr
    pipeline(filled, lake)
    assert_right(filled, tmp_path)


def test_kill_9_at_random_times_leaves_whole_partitions_and_a_rerun_converges(
    filled: Database, tmp_path: Path, readers: Readers
) -> None:
    lake, chance, killed = tmp_path.as_uri(), random.Random(20260101), 0
    pipeline(filled, lake)
    for number in range(RANDOM_KILLS):
        filled.sql("update invoices set amount_usd = %s", 1 + number % 5)
        task = chance.choice(TASKS)
        for before in TASKS[: TASKS.index(task)]:
            run(before, "--lake", lake, *WINDOW, env=environment(filled))
        process = start(task, "--lake", lake, *WINDOW, env=environment(filled))
        time.sleep(chance.uniform(0, 0.25))
        killed += process.poll() is None
        process.kill_now()
        if number % 10 == 9:
            pipeline(filled, lake)
            assert_right(filled, tmp_path)
    pipeline(filled, lake)
    assert_right(filled, tmp_path)
    print(f"{RANDOM_KILLS} kills, {killed} of them in the middle of a task, {readers.polls} polls")
    assert killed > RANDOM_KILLS / 4


@pytest.mark.parametrize("writers", [2, 8])
def test_many_processes_writing_the_same_months_agree(
    filled: Database, tmp_path: Path, readers: Readers, writers: int
) -> None:
    lake = tmp_path.as_uri()
    for task in TASKS:
        command = (task, "--lake", lake, *WINDOW)
        with ThreadPoolExecutor(writers) as pool:
            jobs = [pool.submit(run, *command, env=environment(filled), check=False) for _ in range(writers)]
        codes = {job.result().exit_code for job in jobs}
        # Whoever meets too many others may ask to be run again; nobody fails.
        assert codes <= {0, 75}, [job.result().stderr for job in jobs]
        assert 0 in codes
    pipeline(filled, lake)
    assert_right(filled, tmp_path)


@pytest.mark.parametrize("task", TASKS)
def test_a_stopped_writer_does_not_hide_what_a_newer_one_committed(
    filled: Database, tmp_path: Path, task: str
) -> None:
    lake = tmp_path.as_uri()
    pipeline(filled, lake)
    filled.sql("update invoices set amount_usd = 2")
    for before in TASKS[: TASKS.index(task)]:
        run(before, "--lake", lake, *WINDOW, env=environment(filled))
    old = start(task, "--lake", lake, *WINDOW, env=environment(filled),
                failpoints=f"{PREFIX[task]}::before_put=1*sleep(3000)")  # fmt: skip
    time.sleep(1.5)
    old.send_signal(signal.SIGSTOP)
    filled.sql("update invoices set amount_usd = 3")
    pipeline(filled, lake)
    time.sleep(2)
    old.send_signal(signal.SIGCONT)
    assert old.finish().exit_code in (0, 75)
    for later in TASKS[TASKS.index(task) + 1 :]:
        run(later, "--lake", lake, *WINDOW, env=environment(filled))
    assert_right(filled, tmp_path)


def in_turn(fault: str, every: int, method: str = "") -> object:
    """Let one request of `every` fail, of one method or of all."""
    return lambda m, path, n: fault if n % every == 1 and m.startswith(method) else None


@pytest.mark.parametrize(
    ("fault", "method"),
    [("500", ""), ("503", ""), ("reset-before", ""), ("reset-after", "PUT"), ("hang", "PUT"),
     ("truncate", "GET"), ("wrong-etag", "PUT")],
)  # fmt: skip
def test_a_store_that_fails_now_and_then_is_retried(
    filled: Database, bucket: Bucket, minio: Minio, tmp_path: Path, fault: str, method: str
) -> None:
    with FlakyS3(minio.endpoint, in_turn(fault, 9 if fault == "hang" else 4, method)) as proxy:
        env = bucket.env | {"AWS_ENDPOINT_URL": proxy.endpoint, "AWS_TIMEOUT_SECONDS": "3"}
        for task in TASKS:
            for _ in range(4):
                done = run(task, "--lake", bucket.url, *WINDOW, env=environment(filled, **env), check=False)
                if done.exit_code == 0:
                    break
                assert done.exit_code == 75, done.stderr
            # A store that lies about what it holds is never believed.
            assert done.exit_code == (75 if fault == "wrong-etag" and task == TASKS[2] else 0), done.stderr
        assert proxy.faults > 0
    pipeline(filled, bucket.url, bucket.env)
    assert_right(filled, tmp_path, bucket)


@pytest.mark.parametrize("fault", ["500", "503", "reset-before", "hang", "truncate"])
def test_a_store_that_never_recovers_is_exit_75_and_changes_nothing(
    filled: Database, bucket: Bucket, minio: Minio, fault: str
) -> None:
    pipeline(filled, bucket.url, bucket.env)
    before = {key: bucket.read(key) for key in bucket.keys("invoice")}
    filled.sql("update invoices set amount_usd = 2")
    method = "GET" if fault == "truncate" else "PUT"
    done = query_through(minio, bucket, filled, lambda m, path, n: fault if m == method else None)
    assert done.exit_code == 75, done.stderr
    assert {key: bucket.read(key) for key in bucket.keys("invoice")} == before


def test_a_store_that_takes_every_put_and_never_says_so_is_exit_75_with_whole_objects(
    filled: Database, bucket: Bucket, minio: Minio, tmp_path: Path
) -> None:
    pipeline(filled, bucket.url, bucket.env)
    filled.sql("update invoices set amount_usd = 2")
    done = query_through(minio, bucket, filled, lambda m, path, n: "reset-after" if m == "PUT" else None)
    assert done.exit_code == 75, done.stderr
    bucket.download(tmp_path / "seen")
    objects = list((tmp_path / "seen" / "invoices").glob("*/*.parquet"))
    assert len(objects) == 3
    for path in objects:
        whole = f"select count(distinct amount_usd), count(*) from read_parquet('{path}')"
        assert duckdb.execute(whole).fetchone() == (1, ROWS // 3)
    pipeline(filled, bucket.url, bucket.env)
    assert_right(filled, tmp_path / "after", bucket)


def query_through(minio: Minio, bucket: Bucket, database: Database, fault: Callable) -> Result:
    """Run query_source on a bucket behind a store that never stops failing."""
    with FlakyS3(minio.endpoint, fault) as proxy:
        env = bucket.env | {"AWS_ENDPOINT_URL": proxy.endpoint, "AWS_TIMEOUT_SECONDS": "1",
                            "AWS_RETRY_SECONDS": "2"}  # fmt: skip
        return run("query_source", "--lake", bucket.url, *WINDOW, env=environment(database, **env),
                   check=False)  # fmt: skip


def start_reading(database: Database, lake: Path, failpoint: str) -> Task:
    """Start query_source on a table of more rows than fit between the database and the task.

    ConnectorX reads 32 messages of up to 1 MiB ahead and the sockets hold a few more; this table
    has some 110 MiB.
    """
    database.sql(
        """create table many as
           select n::int8 as invoice_id, timestamp '2025-01-01' + n % 90 * interval '1 day' as issue_date,
                  n % 9::int8 as issuer_id, n % 7::int8 as receiver_id, 1::numeric(12, 2) as amount_usd
           from generate_series(1, 2500000) n"""
    )
    task = start(
        "query_source", "--lake", lake.as_uri(), *WINDOW, "--table", "public.many", "--connections", "1",
        env=environment(database), failpoints=f"query::{failpoint}=1*sleep(4000)",
    )  # fmt: skip
    time.sleep(2.5)
    assert task.poll() is None
    return task


@pytest.mark.parametrize("stage", ["after_snapshot", "reading"])
def test_a_terminated_backend_is_exit_75_and_publishes_nothing(
    filled: Database, tmp_path: Path, stage: str
) -> None:
    task = start_reading(filled, tmp_path, stage)
    ours = "application_name = 'invoice-platform' and datname = current_database()"
    if stage == "reading":
        # The server is in the middle of its COPY: it waits for a client that does not read.
        (copying,) = filled.sql(
            f"select count(*) from pg_stat_activity where {ours} and query like 'COPY%' and state = 'active'"
        )
        assert copying == (1,)
    filled.sql(f"select pg_terminate_backend(pid) from pg_stat_activity where {ours}")
    done = task.finish()
    assert done.exit_code == 75, done.stderr
    assert not list(tmp_path.glob("invoices/**/*.parquet"))


@pytest.mark.parametrize("stage", ["after_snapshot", "reading"])
def test_a_restarted_database_is_exit_75_and_a_rerun_converges(tmp_path: Path, stage: str) -> None:
    with Postgres() as server:
        database = server.create_database()
        task = start_reading(database, tmp_path, stage)
        server.restart("immediate")
        done = task.finish()
        assert done.exit_code == 75, done.stderr
        assert not list(tmp_path.glob("invoices/**/*.parquet"))
        many = ("--table", "public.many")
        run("query_source", "--lake", tmp_path.as_uri(), *WINDOW, *many, env=environment(database))
        rows = f"select count(*), count(distinct invoice_id) from '{tmp_path}/invoices/*/*.parquet'"
        assert duckdb.execute(rows).fetchone() == (2_500_000, 2_500_000)
