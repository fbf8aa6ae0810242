"""What every task promises whoever runs it: result line, exit codes, secrets, signals, TLS."""

import json
import os
import pty
import signal
import subprocess
import time
from pathlib import Path

import pytest

from support.services import Bucket, Database, Postgres
from support.tasks import binary, run, start

TASKS = (
    "populate_tables",
    "query_source",
    "aggregate_by_business",
    "write_partitioned_parquet",
    "inspect_lake",
    "invoice_consumer",
    "query_lake",
)
WINDOW = ("--as-of", "2026-01-31", "--months", "3")


@pytest.mark.parametrize("task", TASKS)
def test_help_teaches_with_examples_and_completions_are_printed(task: str) -> None:
    text = subprocess.run([binary(task), "--help"], capture_output=True, text=True, check=True)
    assert "Examples:" in text.stdout
    assert "[env: LAKE_URL" in text.stdout or task in ("populate_tables", "inspect_lake", "invoice_consumer")
    shell = [binary(task), "--completions", "bash"]
    script = subprocess.run(shell, capture_output=True, text=True, check=True)
    assert f"_{task}" in script.stdout


@pytest.mark.parametrize(
    "flags",
    [
        ("--as-of", "2023-02-29", "--months", "3"),
        ("--as-of", "2026-01-31", "--months", "0"),
        ("--as-of", "yesterday", "--months", "1"),
        ("--months", "1"),
        (*WINDOW, "--no-such-flag"),
    ],
)
def test_wrong_usage_is_exit_2(tmp_path: Path, flags: tuple) -> None:
    for task in TASKS[1:4]:
        env = {"SOURCE_URL": "sqlite:nothing.db"}
        done = run(task, "--lake", tmp_path.as_uri(), *flags, env=env, check=False)
        assert done.exit_code == 2, done.stderr
        assert "error:" in done.stderr


def test_a_window_before_the_year_1_is_wrong_usage(tmp_path: Path) -> None:
    for task in TASKS[1:4]:
        env = {"SOURCE_URL": "sqlite:nothing.db", "LAKE_URL": tmp_path.as_uri()}
        done = run(task, "--as-of", "0001-01-31", "--months", "2", env=env, check=False)
        assert done.exit_code == 2, done.stderr
        assert "begin before the year 1; ask for fewer --months" in done.result["error"]


def test_the_result_line_is_the_only_line_on_stdout_and_in_the_result_file(
    database: Database, tmp_path: Path
) -> None:
    file = tmp_path / "result.json"
    done = run("query_source", "--lake", (tmp_path / "lake").as_uri(), *WINDOW, "--result-file", file,
               env={"SOURCE_URL": database.url(), **database.env()})  # fmt: skip
    assert json.loads(file.read_text()) == done.result
    assert (done.result["task"], done.result["status"]) == ("query_source", "done")
    # Elsewhere than on a terminal every log line is JSON.
    assert all(json.loads(line) for line in done.stderr.splitlines())


def test_a_failure_also_has_a_result_line(tmp_path: Path) -> None:
    done = run("query_source", "--lake", tmp_path.as_uri(), *WINDOW, check=False,
               env={"SOURCE_URL": f"sqlite:{tmp_path}/none.db"})  # fmt: skip
    assert done.exit_code == 78
    assert done.result["status"] == "failed"
    assert "does not exist" in done.result["error"]


@pytest.mark.parametrize("ending", ["?versionId=1", "#part"])
def test_a_lake_url_that_goes_on_after_its_path_is_refused(tmp_path: Path, ending: str) -> None:
    """What was ignored here would have been another folder than the user meant."""
    done = run("aggregate_by_business", "--lake", tmp_path.as_uri() + ending, *WINDOW, check=False)
    assert done.exit_code == 78
    assert "goes on after a ? or #" in done.result["error"]


def test_a_closed_pipe_is_no_bug(tmp_path: Path) -> None:
    """As `inspect_lake status | head` does it: nobody reads the result any more."""
    read, write = os.pipe()
    os.close(read)
    command = [binary("inspect_lake"), "status", "--lake", tmp_path.as_uri()]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.returncode == 0, done.stderr
    assert "panicked" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="NO /dev/full: only Linux has it")
def test_a_full_disk_under_the_result_is_no_bug(tmp_path: Path) -> None:
    command = [binary("inspect_lake"), "status", "--lake", tmp_path.as_uri()]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 75
    assert "cannot write to stdout" in done.stderr
    assert "panicked" not in done.stderr


def test_a_password_is_refused_in_a_flag_and_never_printed(database: Database, tmp_path: Path) -> None:
    secret = "c4nary-password"
    url = database.url("invoice_reader", secret)
    lake = ("--lake", tmp_path.as_uri(), *WINDOW)
    in_flag = run("query_source", "--source", url, *lake, check=False)
    assert in_flag.exit_code == 2
    assert "PGPASSWORD" in in_flag.stderr
    wrong = run("query_source", *lake, env={"SOURCE_URL": url}, check=False)
    assert wrong.exit_code == 78
    assert "password authentication failed" in wrong.stderr
    absent = run("query_source", "--source", database.url("invoice_reader"), *lake, check=False)
    assert absent.exit_code == 78
    assert "PGPASSWORD" in absent.stderr
    for done in (in_flag, wrong, absent):
        assert secret not in done.stdout + done.stderr


def test_no_secret_reaches_logs_results_or_the_lake(
    database: Database, bucket: Bucket, tmp_path: Path
) -> None:
    password = database.env("invoice_reader")["PGPASSWORD"]
    database.sql("insert into customers values (1, 'x'); ")
    database.sql("insert into invoices values (1, '2026-01-05', 1, 1, 5)")
    env = {
        "SOURCE_URL": database.url("invoice_reader", password),
        "RUST_LOG": "debug",
        **bucket.env,
    }
    done = run("query_source", "--lake", bucket.url, *WINDOW, env=env)
    secrets = [password, bucket.env["AWS_SECRET_ACCESS_KEY"]]
    bucket.download(tmp_path)
    written = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()).decode("latin1")
    for secret in secrets:
        assert secret not in done.stdout + done.stderr + written


def test_sigterm_ends_a_task_cleanly_within_ten_seconds(database: Database, tmp_path: Path) -> None:
    database.sql("insert into customers values (1, 'x')")
    database.sql(
        """insert into invoices select n, timestamp '2025-11-01' + n * interval '7 second', 1, 1, 1
           from generate_series(1, 1000000) n"""
    )
    env = {"SOURCE_URL": database.url(), **database.env()}
    task = start("query_source", "--lake", tmp_path.as_uri(), *WINDOW, env=env,
                 failpoints="query::after_extract=sleep(1500)")  # fmt: skip
    time.sleep(0.5)
    task.send_signal(signal.SIGTERM)
    done = task.finish(timeout=10)
    assert done.exit_code == 75, done.stderr
    assert "stopped by a signal" in done.result["error"]
    assert not list(tmp_path.glob("invoices/**/*.parquet"))


def test_progress_on_a_terminal_is_for_people(database: Database, tmp_path: Path) -> None:
    main, side = pty.openpty()
    env = {"SOURCE_URL": database.url(), **database.env(), "TERM": "xterm"}
    command = [binary("query_source"), "--lake", tmp_path.as_uri(), *WINDOW]
    with subprocess.Popen(command, env=env, stderr=side, stdout=subprocess.PIPE) as process:
        stdout, _ = process.communicate(timeout=60)
    os.close(side)
    screen = os.read(main, 65536).decode()
    assert "reading 3 of 3 months" in screen
    assert '{"timestamp"' not in screen
    assert json.loads(stdout)["status"] == "done"


def test_tls_is_verified_or_refused(tmp_path: Path) -> None:
    with Postgres(tls=True) as server:
        database = server.create_database()
        database.sql("insert into customers values (1, 'x')")
        database.sql("insert into invoices values (1, '2026-01-05', 1, 1, 5)")
        env = database.env("invoice_reader")

        def query(host: str, **params: str) -> object:
            url = database.url("invoice_reader", **params).replace(server.host, host)
            return run("query_source", "--source", url, "--lake", tmp_path.as_uri(), *WINDOW,
                       "--refresh", "window", env=env, check=False)  # fmt: skip

        authority = str(server.ca_path)
        assert query("localhost", sslmode="verify-full", sslrootcert=authority).exit_code == 0
        assert query("127.0.0.1", sslmode="verify-ca", sslrootcert=authority).exit_code == 0
        other_name = query("127.0.0.1", sslmode="verify-full", sslrootcert=authority)
        unknown_authority = query("localhost", sslmode="verify-full")
        for refused in (other_name, unknown_authority):
            assert refused.exit_code == 78, refused.stderr
            assert "TLS" in refused.stderr
        assert query("localhost", sslmode="require").exit_code == 0


def test_tls_that_the_server_does_not_offer_is_refused(database: Database, tmp_path: Path) -> None:
    done = run("query_source", "--source", database.url(sslmode="require"), "--lake",
               tmp_path.as_uri(), *WINDOW, env=database.env(), check=False)  # fmt: skip
    assert done.exit_code == 78, done.stderr
