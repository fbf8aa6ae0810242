"""Asks `query_lake` and DuckDB generated questions: `make questions ARGS="--minutes 60"`.

Every finding is printed as soon as it is small; its seed makes it again (`--seed SEED --questions 1`).
"""

import argparse
import json
import tempfile
from pathlib import Path

from support.asked import make_data
from support.generated import Asked, Comparison, Finding, compare


def main() -> None:
    """Ask and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", default="1", help="the questions' seed; each adds its number")
    parser.add_argument("--questions", type=int, default=10**9)
    parser.add_argument("--minutes", type=float, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = make_data(Path(folder))
        with Asked(data) as asked:
            comparison = Comparison(asked, data.duck)
            count = compare(comparison, options.seed, options.minutes * 60, options.questions, show)
    print(json.dumps({"questions": count, **dict(comparison.counts.most_common())}, indent=1))


def show(finding: Finding) -> None:
    """Print a finding."""
    print(f"-- seed {finding.seed}: {finding.problem}\n{finding.sql};\n", flush=True)


if __name__ == "__main__":
    main()
