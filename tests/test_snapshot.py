"""All partitions of a run show one state of the source, whatever is written meanwhile."""

import threading
from decimal import Decimal
from pathlib import Path

import duckdb
import psycopg

from support.services import Database
from support.tasks import run

ACCOUNTS = 2_000
MONTHS = 12
START = Decimal("100.00")


def fill(database: Database) -> None:
    """Fill twelve months; every invoice starts at 100.00, so the total is known."""
    database.sql("insert into customers select n, 'x' from generate_series(1, 50) n")
    database.sql(
        """insert into invoices select n, timestamp '2025-01-01' + (n %% %s) * interval '1 month',
           1 + n %% 50, 1 + n %% 7, %s from generate_series(1, %s) n""",
        MONTHS,
        START,
        ACCOUNTS * MONTHS,
    )
    database.sql("analyze invoices")


class Transfers(threading.Thread):
    """Move money between invoices of different months at full rate; the total never changes.

    Every transaction also deletes an invoice and inserts it again in another month, so that a torn
    view would lose or double rows.
    """

    def __init__(self, database: Database, seed: int) -> None:
        """Prepare, but don't start."""
        super().__init__(daemon=True)
        self.database, self.seed = database, seed
        self.stop = threading.Event()
        self.count = 0

    def run(self) -> None:
        """Transfer until told to stop."""
        with psycopg.connect(self.database.admin_url) as connection:
            while not self.stop.is_set():
                n = self.count * 7919 + self.seed
                one, other = n % (ACCOUNTS * MONTHS) + 1, (n * 31 + 11) % (ACCOUNTS * MONTHS) + 1
                if one != other:
                    try:
                        is_whole = self.transfer(connection, one, other)
                    except psycopg.errors.DeadlockDetected:
                        is_whole = False
                    if is_whole:
                        connection.commit()
                        self.count += 1
                    else:
                        connection.rollback()
                        self.seed += 1
                else:
                    self.seed += 1

    def transfer(self, connection: psycopg.Connection, one: int, other: int) -> bool:
        """Move 0.37 from one invoice to another, and the first into the next month.

        False when half of it found no row: a statement that has waited for the other thread to replace an
        invoice sees neither the old row nor the new one.
        """
        given = connection.execute(
            "update invoices set amount_usd = amount_usd + 0.37 where invoice_id = %s", (other,)
        )
        taken = connection.execute(
            """with gone as (delete from invoices where invoice_id = %s returning *)
               insert into invoices select invoice_id,
                 timestamp '2025-01-01' + (extract(month from issue_date)::int %% 12) * interval '1 month',
                 issuer_id, receiver_id, amount_usd - 0.37 from gone""",
            (one,),
        )
        return given.rowcount == taken.rowcount == 1


def test_balanced_transfers_never_show_a_torn_state(database: Database, tmp_path: Path) -> None:
    fill(database)
    writers = [Transfers(database, seed) for seed in (1, 5_000_000)]
    for writer in writers:
        writer.start()
    try:
        for attempt in range(6):
            lake = tmp_path / f"lake{attempt % 2}"
            run("query_source", "--lake", lake.as_uri(), "--as-of", "2025-12-31", "--months", MONTHS,
                "--connections", 3, "--refresh", "window" if attempt < 3 else "changed",
                env={"SOURCE_URL": database.url(), **database.env()})  # fmt: skip
            found = duckdb.sql(
                f"""select count(*), count(distinct invoice_id), sum(amount_usd)
                    from read_parquet('{lake}/invoices/**/*.parquet', hive_partitioning = true)"""
            ).fetchone()
            # Rows of every month together: only one shared snapshot makes them balance.
            assert found == (ACCOUNTS * MONTHS, ACCOUNTS * MONTHS, START * ACCOUNTS * MONTHS)
    finally:
        for writer in writers:
            writer.stop.set()
            writer.join(10)
    assert all(writer.count > 50 for writer in writers), "the writers were not at work"
