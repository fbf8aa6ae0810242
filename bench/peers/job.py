"""The job that every peer does, so that each script holds nothing but its engine's own way.

Reads invoices of a window of months from `SOURCE_URL` and leaves under `--output`:

- `invoices/issue_date_yearmonth=…/`: the rows as they are,
- `invoice_by_business/issue_date_yearmonth=…/`: statistics per month and business,
- `business_last_n_months/`: the same over the window, without counterparties.

A business counts once for what it issued and once for what it received; the null
business is a group of its own. Amounts are exact decimals. Counterparties are the
distinct other businesses at the far end of a month's invoices, both sides together.
"""

import argparse
import os
from dataclasses import dataclass
from datetime import date
from pathlib import Path

MONTH_COLUMN = "issue_date_yearmonth"


@dataclass(frozen=True)
class Job:
    """Where to read from, the window, and where to write to."""

    source: str
    output: Path
    first: date
    end: date

    @property
    def in_window(self) -> str:
        """The window as an SQL condition, half open."""
        return f"issue_date >= '{self.first}' and issue_date < '{self.end}'"

    def table(self, name: str) -> str:
        """Return the folder of one result table."""
        return str(self.output / name)


def months_later(month: date, count: int) -> date:
    """Return the first day of the month that lies `count` months after (or before)."""
    index = month.year * 12 + month.month - 1 + count
    return date(index // 12, index % 12 + 1, 1)


def from_arguments() -> Job:
    """Read the job from the command line and the environment."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--as-of", type=date.fromisoformat, required=True)
    parser.add_argument("--months", type=int, required=True)
    options = parser.parse_args()
    end = months_later(options.as_of, 1)
    return Job(
        source=os.environ["SOURCE_URL"],
        output=options.output,
        first=months_later(end, -options.months),
        end=end,
    )
