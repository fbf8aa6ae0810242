"""Generated questions: a wrong answer is found and made small; a seed makes the same question again.

`make questions ARGS="--minutes 60 --seed 7"` asks them for as long as you like.
"""

from collections.abc import Iterator

import pytest

from support.asked import Data, Pairs, make_data
from support.generated import Asked, Comparison, Finding, compare
from support.generator import Generator


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Data]:
    """Write the data that the other questions have."""
    data = make_data(tmp_path_factory.mktemp("generated"))
    yield data
    data.duck.close()


class Forgetful(Asked):
    """Loses a row of every outer join."""

    def ask(self, sql: str) -> list[Pairs] | str:
        """Answer wrongly where the question has a LEFT JOIN."""
        answer = super().ask(sql)
        return answer[1:] if "LEFT JOIN" in sql and isinstance(answer, list) else answer


def test_a_wrong_answer_is_found_and_made_small(data: Data) -> None:
    findings: list[Finding] = []
    with Forgetful(data) as asked:
        compare(Comparison(asked, data.duck), "wrong", 15, 25, findings.append)
    # There may be others that nobody has planted.
    planted = [finding for finding in findings if "LEFT JOIN" in finding.sql and "DuckDB" in finding.problem]
    assert planted
    for finding in planted:
        assert len(finding.sql) <= len(str(Generator(finding.seed).question()))
    assert min(len(finding.sql) for finding in planted) < 200


def test_a_seed_makes_the_same_question() -> None:
    assert str(Generator("x").question()) == str(Generator("x").question())
    assert len({str(Generator(f"x-{number}").question()) for number in range(50)}) == 50


def test_no_generated_question_is_answered_wrongly(data: Data) -> None:
    """A sentence that refuses is no wrong answer."""
    findings: list[Finding] = []
    with Asked(data) as asked:
        count = compare(Comparison(asked, data.duck), "right", 120, 150, findings.append)
    assert count == 150, "the machine is too slow for them"
    assert not [finding for finding in findings if "DuckDB" in finding.problem]
