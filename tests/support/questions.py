"""What every engine is asked about three months of invoices, and what Postgres answers."""

from decimal import Decimal

from support.services import Database

# What every engine is asked, in SQL that all of them know.
QUESTIONS = (
    "select issue_date_yearmonth, count(*), sum(amount_usd), min(issue_date), max(issue_date)"
    " from invoices group by issue_date_yearmonth order by issue_date_yearmonth",
    "select business_id, sum(total_amount_issued), sum(received_count) from invoice_by_business"
    " where issue_date_yearmonth = date '2026-01-01' group by business_id order by business_id nulls last",
    "select count(*), sum(total_amount_received) from business_last_n_months"
    " where months = 3 and as_of = date '2026-01-01'",
)


def statements(text: str) -> list[str]:
    """Cut printed definitions into statements, comments left out."""
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    return [statement.strip() for statement in "\n".join(lines).split(";") if statement.strip()]


def expected(database: Database) -> list[list[list[str]]]:
    """Answer the questions in Postgres, from the table of invoices."""
    window = "issue_date >= '2025-11-01' and issue_date < '2026-02-01'"
    months = database.sql(
        "select date_trunc('month', issue_date)::date, count(*), sum(amount_usd), min(issue_date),"
        f" max(issue_date) from invoices where {window} group by 1 order by 1"
    )
    businesses = database.sql(
        """with sides as (select issuer_id b, amount_usd a, 0 r from invoices where issue_date >= '2026-01-01'
             union all select receiver_id, 0, 1 from invoices where issue_date >= '2026-01-01')
           select b, sum(a), sum(r) from sides group by 1 order by 1 nulls last"""
    )
    window_total = database.sql(
        f"""select (select count(*) from (select issuer_id from invoices where {window} union
               select receiver_id from invoices where {window}) b),
             (select sum(amount_usd) from invoices where {window})"""
    )
    return [texts(answer) for answer in (months, businesses, window_total)]


def texts(answer: list[tuple]) -> list[list[str]]:
    """Write an answer so that engines with other types of numbers can be compared."""
    return [[f"{value:.2f}" if isinstance(value, Decimal) and value % 1 else number(value) for value in row]
            for row in answer]  # fmt: skip


def number(value: object) -> str:
    """Write whole decimals and integers alike."""
    return str(int(value)) if isinstance(value, Decimal) and value % 1 == 0 else str(value)
