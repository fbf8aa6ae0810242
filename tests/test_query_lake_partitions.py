"""Partition values of folders given by --with, generated and compared with DuckDB."""

import csv
import io
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import duckdb
import pytest

from support.services import Bucket
from support.tasks import run

NULL = "__HIVE_DEFAULT_PARTITION__"
# As Hive and Spark write them: everything but what can't be in a path is left as it is.
SAFE = " !$&'()+,-.;@[]^_`{}~üñ発ß"
KINDS = {
    "whole numbers": ["0", "7", "-3", "12", "9223372036854775807"],
    "leading zeros": ["7", "07", "007", "0", "00"],
    "texts": ["a", "A", "a b", "ß", "発", "it's", 'say "x"', "a=b", "x,y", ";", "\\", "true-ish"],
    "percents": ["a%b", "100%", "%41", "%", "a%2Fb", "%25"],
    "slashes": ["a/b", "/", "..", "a:b", "c?d", "#1"],
    "dates": ["2026-01-31", "2024-02-29", "1999-12-31"],
    "numbers and texts": ["1", "x", "2", "-", "+5"],
    "long numbers": ["9223372036854775808", "1", "-9223372036854775809"],
    "booleans": ["true", "false"],
}
SEEDS = 2
QUESTIONS = (
    "SELECT CAST(k AS VARCHAR) AS k, SUM(n) AS n FROM x GROUP BY k",
    "SELECT COUNT(*) AS n FROM x WHERE k IS NULL",
    "SELECT COUNT(*) AS n FROM x WHERE CAST(k AS VARCHAR) = {value}",
    "SELECT COUNT(*) AS n FROM x WHERE CAST(k AS VARCHAR) <> {value}",
    "SELECT COUNT(*) AS n FROM x WHERE NOT (CAST(k AS VARCHAR) = {value} OR k IS NULL)",
    "SELECT COUNT(*) AS n FROM x a JOIN x b ON a.k = b.k",
    "SELECT COUNT(DISTINCT k) AS n, COUNT(k) AS m FROM x",
)


def rows(printed: str) -> list[tuple]:
    """Read what query_lake printed; NULL and an empty text look the same there."""
    return sorted(tuple(row) for row in list(csv.reader(io.StringIO(printed)))[1:])


def folder_of(value: str | None) -> str:
    return f"k={NULL if value is None else quote(value, safe=SAFE)}"


def fill(folder: Path, values: list[str | None]) -> None:
    for number, value in enumerate(values):
        path = folder / folder_of(value) / f"{number}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        duckdb.sql(f"select {10**number} as n from range({number + 1})").write_parquet(str(path))


def oracle(folder: Path, question: str) -> list[tuple]:
    """Ask DuckDB, which takes every value for the text that it is."""
    source = f"read_parquet('{folder}/**/*.parquet', hive_partitioning=true, hive_types_autocast=false)"
    connection = duckdb.connect()
    connection.execute(f"create view x as select * from {source}")
    found = connection.execute(question).fetchall()
    return sorted(tuple("" if cell is None else str(cell) for cell in row) for row in found)


def ask(place: str, question: str, env: dict[str, str] | None = None) -> list[tuple]:
    done = run("query_lake", "--with", f"x={place}", "--format", "csv", question, env=env or {}, check=False)
    assert done.exit_code == 0, (question, done.stderr)
    return rows(done.stdout)


@pytest.mark.parametrize("kind", KINDS)
def test_partition_values_are_what_duckdb_reads(tmp_path: Path, kind: str) -> None:
    for seed in range(SEEDS):
        chance = random.Random(f"{kind} {seed}")
        values: list[str | None] = chance.sample(KINDS[kind], chance.randint(2, min(5, len(KINDS[kind]))))
        values += [None] if chance.random() < 0.6 else []
        chance.shuffle(values)
        folder = tmp_path / str(seed)
        fill(folder, values)
        wanted = next(value for value in values if value is not None)
        for question in QUESTIONS:
            asked = question.format(value="'" + wanted.replace("'", "''") + "'")
            assert ask(f"{folder.as_uri()}/", asked) == oracle(folder, asked), (values, asked)


def test_values_on_s3_are_those_on_a_disk(tmp_path: Path, bucket: Bucket) -> None:
    fill(tmp_path, ["a%b", "a b", "a/b", "ü", "%41", "007", "7", "x=y", None])
    for path in tmp_path.rglob("*.parquet"):
        key = f"folder/{path.relative_to(tmp_path)}"
        bucket.client.put_object(Bucket=bucket.name, Key=key, Body=path.read_bytes())
    question = QUESTIONS[0]
    assert ask(f"{bucket.url}/folder/", question, bucket.env) == oracle(tmp_path, question)


def test_a_listing_of_more_than_one_page_is_read_whole(tmp_path: Path, bucket: Bucket) -> None:
    fill(tmp_path, ["1"])
    content = next(tmp_path.rglob("*.parquet")).read_bytes()
    count = 1_003

    def put(number: int) -> None:
        bucket.client.put_object(Bucket=bucket.name, Key=f"folder/k={number}/0.parquet", Body=content)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(put, range(count)))
    found = ask(f"{bucket.url}/folder/", "SELECT COUNT(*) AS n, SUM(k) AS k FROM x", bucket.env)
    assert found == [(str(count), str(count * (count - 1) // 2))]
