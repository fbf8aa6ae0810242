"""Data for `query_lake` and DuckDB alike, the questions in `tests/questions`, how answers are compared."""

import json
import re
import sqlite3
import subprocess
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import duckdb

from support.oracle import run_batch
from support.tasks import binary

AS_OF, MONTHS = "2026-01-31", 3
COUNTRIES = ("DE", "FR", "ZA", None)
NAMES = (
    "Möller & Söhne",
    "O'Neil",
    "東京商事",
    "100% Pure",
    "under_score",
    "  spaced  ",
    "",
    "Zed",
    "ähnlich",
    "ABC",
)


@dataclass(frozen=True)
class Question:
    """One question and what is special about it."""

    sql: str
    duckdb: str
    differs: str
    refused: str

    @property
    def is_ordered(self) -> bool:
        """Whether the answer's rows come in an order that the question asks for."""
        return "order by" in self.sql.rsplit(")", 1)[-1].lower()


def questions(path: Path) -> list[Question]:
    """Read a file of questions."""
    found = []
    for paragraph in re.split(r"\n\s*\n", path.read_text().strip()):
        lines = paragraph.splitlines()
        notes = dict(re.findall(r"^-- (duckdb|differs|refused): (.*)$", paragraph, re.MULTILINE))
        sql = "\n".join(line for line in lines if not line.startswith("--")).strip()
        if sql:
            assert sql.endswith(";"), sql
            sql = sql.removesuffix(";")
            found.append(
                Question(sql, notes.get("duckdb", sql), notes.get("differs", ""), notes.get("refused", ""))
            )
    return found


class Pairs(list):
    """Fields of a row or a struct; a name may be there twice."""


@dataclass
class Data:
    """The same files for both engines."""

    lake: Path
    flags: list[str]
    duck: duckdb.DuckDBPyConnection
    history: Path

    def command(self) -> list[str]:
        """Return the command that answers question after question."""
        command = [str(binary("query_lake")), "--lake", self.lake.as_uri(), "--format", "jsonl"]
        command += ["--timeout", "5", "--history", str(self.history)]
        return command + [word for flag in self.flags for word in ("--with", flag)]


def rows_of_source(random: Random) -> list[tuple]:
    """Make invoices of three months, some without a receiver, some amounts negative, some equal."""
    first = datetime(2025, 11, 1)
    return [
        (
            number,
            (first + timedelta(minutes=random.randrange(92 * 24 * 60))).strftime("%Y-%m-%d %H:%M:%S"),
            random.randint(1, 20),
            None if number % 17 == 0 else random.randint(1, 25),
            f"{Decimal(random.choice((random.randint(-9999, 999999), 10000, 1))) / 100:.2f}",
        )
        for number in range(1, 2001)
    ]


def make_data(folder: Path) -> Data:
    """Write a lake by the tasks, and files of every form beside it."""
    random = Random(7)
    with sqlite3.connect(folder / "shop.db") as connection:
        connection.execute(
            "create table invoices (invoice_id integer primary key, issue_date text, issuer_id integer,"
            " receiver_id integer, amount_usd text)"
        )
        connection.executemany("insert into invoices values (?, ?, ?, ?, ?)", rows_of_source(random))
    lake = folder / "lake"
    run_batch({"SOURCE_URL": f"sqlite:{folder}/shop.db"}, lake.as_uri(), AS_OF, MONTHS)
    duck = duckdb.connect()
    duck.sql("set timezone = 'UTC'")
    month = "'issue_date_yearmonth': date"
    for table, keys in {
        "invoices": month,
        "invoice_by_business": f"{month}, 'business_id': bigint",
        "business_last_n_months": "'as_of': date, 'months': int",
    }.items():
        duck.sql(
            f"create table {table} as select * from read_parquet('{lake}/{table}/**/*.parquet',"
            f" hive_partitioning = true, union_by_name = true, hive_types = {{{keys}}})"
        )

    customers = [
        (number, NAMES[number % len(NAMES)], COUNTRIES[number % 4], f"{number * 37 % 1000:03}",
         None if number % 7 == 0 else f"{number * 1000 + number}.5",
         f"20{10 + number % 15}-0{1 + number % 9}-1{number % 10}")
        for number in range(1, 31)
    ]  # fmt: skip
    duck.sql(
        "create table customers (customer_id bigint, name varchar, country varchar, code varchar,"
        " credit_limit decimal(18, 1), since date)"
    )
    duck.executemany(
        "insert into customers values (?, nullif(?, ''), ?, ?, ?, ?)", [list(c) for c in customers]
    )
    duck.sql(f"copy customers to '{folder}/customers.csv' (header)")
    lines, grades = [], ("A", "B", "C", None)
    for number in range(1, 24, 2):
        rating = None if number == 5 else {"grade": grades[number % 4], "score": number / 8}
        lines.append({"business_id": number, "rating": rating, "tags": ["x", "y", "z"][: number % 4]})
    (folder / "ratings.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    duck.sql(
        f"create table ratings as select * from read_json('{folder}/ratings.jsonl', columns = {{business_id:"
        " 'bigint', rating: 'struct(grade varchar, score decimal(18, 3))', tags: 'varchar[]'})"
    )
    for number, value in enumerate(("a", "", "__HIVE_DEFAULT_PARTITION__", "a%25b", "é", "007", "7", "x y")):
        part = folder / "parts" / f"k={value}"
        part.mkdir(parents=True)
        duck.sql(
            f"copy (select {number}::bigint as n, {number}.25::decimal(9, 2) as v) to '{part}/p.parquet'"
        )
    duck.sql(
        f"create table parts as select * from read_parquet('{folder}/parts/*/*.parquet',"
        " hive_partitioning = true)"
    )
    (folder / "numbers.csv").write_text(
        "i,d,w\n1,0.1,99999999999999999999999999999999999.99\n2,0.02,0.01\n,-3.003,\n9223372036854775807,,-1.5\n"
    )
    duck.sql(
        f"create table numbers as select * from read_csv('{folder}/numbers.csv', columns = {{i: 'bigint',"
        " d: 'decimal(18, 3)', w: 'decimal(38, 2)'})"
    )
    flags = [
        f"customers={folder}/customers.csv",
        f"ratings={folder}/ratings.jsonl",
        f"parts={folder}/parts/",
        f"numbers={folder}/numbers.csv",
    ]
    return Data(lake, flags, duck, folder / "history")


def ask_all(data: Data, asked: list[str]) -> list[list[Pairs] | str]:
    """Ask one process one question after the other: rows, or the sentence that refuses it."""
    lines = []
    for number, sql in enumerate(asked):
        lines += [" ".join(sql.split()) + ";", f"SELECT {number} AS __end;"]
    done = subprocess.run(
        data.command(),
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers: list[list[Pairs]] = [[]]
    for line in done.stdout.splitlines()[: -1 if '"queries"' in done.stdout[-500:] else None]:
        row = json.loads(line, parse_float=Decimal, parse_int=Decimal, object_pairs_hook=Pairs)
        if row[0][0] == "__end":
            answers.append([])
        else:
            answers[-1].append(row)
    said = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(said) == 2 * len(asked), (len(said), len(asked), done.stderr[-2000:])
    return [
        rows if re.fullmatch(r"[\d,]+ rows, [\d,]+ bytes of [\d,]+ files read", line) else line
        for rows, line in zip(answers, said[::2], strict=False)
    ]


def plain(value: Any) -> Any:
    """Write a value of either engine in one way: numbers exact, dates and times in ISO."""
    match value:
        case bool() | None:
            return value
        case float():
            return value
        case int() | Decimal():
            return Decimal(value).normalize() + 0
        case datetime():
            return plain(value.replace(tzinfo=None).isoformat())
        case date() | time():
            return value.isoformat()
        case str():
            text = re.sub(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d*?)0+$", r"\1", value).rstrip(".")
            text = value if not re.match(r"^\d{4}-\d\d-\d\dT", value) else text
            return text.removesuffix("T00:00:00")
        case Pairs():
            return tuple(plain(item) for _, item in value)
        case dict():
            return tuple(plain(item) for item in value.values())
        case list() | tuple():
            return tuple(plain(item) for item in value)
    return str(value)


def is_same(ours: Any, theirs: Any) -> bool:
    """Compare exactly; where DuckDB has a float, as closely as our six digits after the point."""
    if isinstance(ours, tuple) and isinstance(theirs, tuple):
        return len(ours) == len(theirs) and all(map(is_same, ours, theirs))
    if isinstance(theirs, float) and isinstance(ours, float | Decimal):
        return abs(float(ours) - theirs) <= 1.1e-6 + 1e-9 * abs(theirs)
    return type(ours) is type(theirs) and ours == theirs


def by_text(rows: list[tuple]) -> list[tuple]:
    """Sort rows so that values of any type and almost equal floats come in one order."""
    return sorted(rows, key=lambda row: str([round(v, 4) if isinstance(v, float) else v for v in row]))


def difference(question: Question, answer: list[Pairs] | str, duck: duckdb.DuckDBPyConnection) -> str:
    """Say how the answer differs from DuckDB's; empty when it doesn't."""
    if isinstance(answer, str):
        return answer
    ours = [plain(row) for row in answer]
    theirs = [plain(row) for row in duck.sql(question.duckdb).fetchall()]
    # Where one engine has a float and the other a decimal, both are rounded before they are sorted.
    if not question.is_ordered:
        ours, theirs = by_text(ours), by_text(theirs)
    if len(ours) != len(theirs):
        return f"{len(ours)} rows, DuckDB {len(theirs)}: {ours[:3]} {theirs[:3]}"
    for mine, other in zip(ours, theirs, strict=True):
        if not is_same(mine, other):
            return f"{mine}, DuckDB {other}"
    return ""
