"""Questions that analysts ask, answered by `query_lake` and by DuckDB over the same files.

`questions/*.sql` holds them, one a paragraph. A comment beside a question says what is special about it:
`-- duckdb: …` is the same question in DuckDB's words, `-- differs: …` the reason why the answers are not
the same, `-- refused: …` words of the sentence that refuses it.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.asked import Data, ask_all, difference, make_data, questions
from support.services import REPOSITORY

FOLDER = Path(__file__).parent / "questions"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Data]:
    """Write a lake by the tasks, and files of every form beside it."""
    data = make_data(tmp_path_factory.mktemp("questions"))
    yield data
    data.duck.close()


def test_questions_are_answered_as_duckdb_does(data: Data) -> None:
    asked = [question for path in sorted(FOLDER.glob("*.sql")) for question in questions(path)]
    answers = ask_all(data, [question.sql for question in asked])
    wrong = []
    equal = 0
    for question, answer in zip(asked, answers, strict=True):
        if question.refused:
            if not isinstance(answer, str) or question.refused not in answer:
                wrong.append(f"{question.sql}\n  not refused by {question.refused!r}: {answer}")
            continue
        found = difference(question, answer, data.duck)
        if isinstance(answer, str) or bool(found) != bool(question.differs):
            wrong.append(f"{question.sql}\n  {found or 'does not differ any more'}")
        equal += not question.differs
    assert not wrong, f"{len(wrong)} of {len(asked)}:\n" + "\n".join(wrong)
    assert equal >= 200


def test_every_difference_is_in_the_docs() -> None:
    document = (REPOSITORY / "docs" / "sql.md").read_text()
    for path in FOLDER.glob("*.sql"):
        for question in questions(path):
            if question.differs:
                assert question.differs in document, question.differs
            if question.refused:
                assert " ".join(question.sql.split()) in " ".join(document.split()), question.sql
