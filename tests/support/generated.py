"""Asks generated questions of one `query_lake` process and of DuckDB, and makes what differs small."""

import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from time import monotonic
from typing import Self

import duckdb

from support.asked import Data, Pairs, Question, difference
from support.generator import Generator
from support.question_tree import TABLES, Node

ATTEMPTS_MAX = 400
DECIMALS = re.compile(r"DECIMAL\(\d+, ?\d+\)")
# Sentences for what the question's own values do; DuckDB computes in wider types, or has no error there.
ABOUT_VALUES = ("more digits than its type", "divides by zero")


class Asked:
    """One process that answers question after question."""

    def __init__(self, data: Data) -> None:
        """Start the process."""
        self.data = data
        self.start()

    def start(self) -> None:
        """Start a new process."""
        self.process = subprocess.Popen(
            self.data.command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        """Nothing more to do."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait(30)

    def ask(self, sql: str) -> list[Pairs] | str:
        """Return the rows, or the sentence that refuses the question."""
        try:
            # What turns times on or off says so, and nothing else does: it ends the answer.
            self.process.stdin.write(f"{sql};\n\\timing\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return self.ended()
        rows = []
        for line in self.process.stdout:
            if line.startswith("Timing is "):
                return self.outcome(rows)
            rows.append(json.loads(line, parse_float=Decimal, parse_int=Decimal, object_pairs_hook=Pairs))
        return self.ended()

    def outcome(self, rows: list[Pairs]) -> list[Pairs] | str:
        """Read what the process says of the answer."""
        for line in self.process.stderr:
            if line.startswith(("{", "Time: ")):
                continue
            return rows if line.endswith(" files read\n") else line.strip()
        return self.ended()

    def ended(self) -> str:
        """Start again after the process ended in a question."""
        said = self.process.stderr.read()
        code = self.process.wait()
        self.start()
        return f"the process ended with {code}: {said[-500:]}"


@dataclass
class Finding:
    """A question that is not answered as DuckDB answers it, as small as it could be made."""

    seed: str
    sql: str
    problem: str


@dataclass
class Comparison:
    """Both engines, and how their answers compared."""

    asked: Asked
    duck: duckdb.DuckDBPyConnection
    counts: Counter = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Let DuckDB read the questions as Postgres would, and lose no digit of a decimal.

        Where two decimals meet, in a CASE or a UNION, it keeps the digits of either: all have four.
        """
        self.duck.sql("set default_null_order = 'nulls_last_on_asc_first_on_desc'")
        self.duck.sql("set integer_division = true")
        for table in TABLES:
            columns = self.duck.sql(f"describe {table}").fetchall()
            items = [f'"{name}"::{DECIMALS.sub("decimal(24, 4)", kind)}' for name, kind, *_ in columns]
            names = ", ".join(f'{item} as "{name}"' for item, (name, *_) in zip(items, columns, strict=True))
            if DECIMALS.search(" ".join(items)) and table != "numbers":
                self.duck.sql(f"create or replace table {table} as select {names} from {table}")
        self.duck.sql("create or replace table numbers as select i, d::decimal(24, 4) as d from numbers")

    def problem(self, question: Node) -> str:
        """Say what is wrong with the answer; empty when nothing is, or nobody can tell."""
        sql = str(question)
        theirs = sql.replace("LEFT SEMI JOIN", "SEMI JOIN").replace("LEFT ANTI JOIN", "ANTI JOIN")
        answer = self.asked.ask(sql)
        try:
            found = difference(Question(sql, theirs, "", ""), answer, self.duck)
        except duckdb.Error as error:
            # Neither has an answer, or only ours: there is nothing to compare with.
            self.counts["DuckDB: " + str(error).split(":")[0]] += 1
            return ""
        if isinstance(answer, str):
            try:
                self.duck.sql(theirs).fetchall()
            except duckdb.Error:
                self.counts["refused by both"] += 1
                return ""
            for words in ABOUT_VALUES:
                if words in answer:
                    self.counts[f"refused: {words}"] += 1
                    return ""
        else:
            self.counts["rows" if answer else "no rows"] += not found
        return found

    def smallest(self, question: Node, problem: str) -> tuple[Node, str]:
        """Cut the question down for as long as it is a problem of the same kind."""
        attempts = 0
        is_cut = True
        while is_cut:
            is_cut = False
            for smaller in question.smaller():
                attempts += 1
                if attempts > ATTEMPTS_MAX:
                    return question, problem
                found = self.problem(smaller)
                if found and kind(found) == kind(problem):
                    question, problem, is_cut = smaller, found, True
                    break
        return question, problem


def kind(problem: str) -> str:
    """Return what problems of one kind have in common: a wrong answer, or the beginning of a sentence."""
    return "wrong" if "DuckDB" in problem else re.sub(r"\d+", "N", problem)[:60]


def compare(
    comparison: Comparison, seed: str, seconds: float, most: int, report: Callable[[Finding], None]
) -> int:
    """Ask so many questions or for so long, whichever ends first; return how many were asked."""
    until = monotonic() + seconds
    for number in range(most):
        if monotonic() > until:
            return number
        question = Generator(f"{seed}-{number}").question()
        if problem := comparison.problem(question):
            small, problem = comparison.smallest(question, problem)
            comparison.counts["findings"] += 1
            report(Finding(f"{seed}-{number}", str(small), problem))
    return most
