"""`inspect_lake init`: from a database that nobody has described to a lake that equals it."""

import sqlite3
import subprocess
from decimal import Decimal
from pathlib import Path

from support.oracle import invoices_in
from support.services import Database
from support.tasks import Result, run

WINDOW = ("--as-of", "2026-01-31", "--months", "2")


def init(env: dict[str, str], *flags: object, exit_code: int = 0) -> Result:
    done = run("inspect_lake", "init", "--log-format", "text", *flags, env=env, check=False)
    assert done.exit_code == exit_code, done.stderr
    return done


def batch(lake: Path, env: dict[str, str]) -> list[tuple[int | str, Decimal]]:
    """Run the three tasks with these settings alone, let `verify --deep` agree; ids and amounts."""
    for task in ("query_source", "aggregate_by_business", "write_partitioned_parquet"):
        run(task, "--lake", lake.as_uri(), *WINDOW, env=env)
    run("inspect_lake", "verify", "--deep", "--lake", lake.as_uri(), *WINDOW, env=env)
    return sorted((row[0], row[4]) for row in invoices_in(lake))


def test_a_partitioned_table_with_names_of_its_own_and_soft_deletes(
    database: Database, tmp_path: Path
) -> None:
    database.sql("""
        drop table public.invoices cascade;
        create schema "Billing";
        create table "Billing".companies (id uuid primary key, name text);
        create type "Billing".doc_state as enum ('Draft', 'Sent', 'Paid');
        create table "Billing"."Documents" (
            "DocNo" varchar(20) not null, "CreatedAt" timestamptz not null, "IssuedOn" date not null,
            "DueOn" date,
            "SupplierId" uuid not null references "Billing".companies,
            "CustomerId" uuid references "Billing".companies,
            "CustomerName" text, "VatAmount" numeric(12, 2), "GrossTotal" numeric(14, 2) not null,
            "Currency" char(3) not null, "State" "Billing".doc_state, "DeletedAt" timestamptz,
            primary key ("DocNo", "IssuedOn")
        ) partition by range ("IssuedOn");
        create table "Billing".d2025 partition of "Billing"."Documents"
            for values from ('2025-01-01') to ('2026-01-01');
        create table "Billing".d2026 partition of "Billing"."Documents"
            for values from ('2026-01-01') to ('2027-01-01');
        create table "Billing"."DocumentLines" ("LineId" bigint primary key, "DocNo" bigint, "Amount" numeric,
            "CreatedAt" timestamp);
        insert into "Billing".companies select md5(n::text)::uuid, 'c' || n from generate_series(1, 9) n;
        insert into "Billing"."Documents"
        select 'R-' || n, now(), date '2025-12-01' + n % 60, null, md5((n % 9 + 1)::text)::uuid,
               md5((n % 7 + 1)::text)::uuid, 'x', 1, n * 1.01,
               case when n % 10 = 0 then 'EUR' else 'USD' end,
               (array['Draft', 'Sent', 'Paid', null]::"Billing".doc_state[])[n % 4 + 1],
               case when n % 11 = 0 then now() end
        from generate_series(1, 2000) n;
        analyze;
        grant usage on schema "Billing" to invoice_reader;
        grant select on all tables in schema "Billing" to invoice_reader;
    """)
    source = {"SOURCE_URL": database.url("invoice_reader"), **database.env("invoice_reader")}
    output = tmp_path / "invoices.sh"
    done = init(source, "--output", output)
    settings = done.result["settings"]
    assert {name: settings[name] for name in settings if name != "SOURCE_WHERE"} == {
        "SOURCE_TABLE": "Billing.Documents",
        "INVOICE_ID_COLUMN": "DocNo",
        "ISSUE_DATE_COLUMN": "IssuedOn",
        "ISSUER_COLUMN": "SupplierId",
        "RECEIVER_COLUMN": "CustomerId",
        "AMOUNT_COLUMN": "GrossTotal",
    }
    assert "EUR, USD" in done.stderr
    assert "keeps DocNo unique" in done.stderr
    assert "ids in DocNo, SupplierId, CustomerId are texts" in done.stderr
    expected = database.sql("""
        select "DocNo", "GrossTotal" from "Billing"."Documents"
        where "Currency" = 'USD' and "DeletedAt" is null and coalesce("State"::text, '') <> 'Draft'
        order by "DocNo" collate "C"
    """)
    # What the shell makes of the file is what the tasks get.
    command = ["env", "-i", "bash", "-c", f". {output} && /usr/bin/env -0"]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    shell = dict(line.split("=", 1) for line in printed.split("\0") if "=" in line)
    assert batch(tmp_path / "lake", source | {name: shell[name] for name in settings}) == expected
    assert {name.upper(): value for name, value in done.result["airflow_extra"].items()} == settings


def test_an_export_in_a_file_with_cents_and_dates_as_texts(tmp_path: Path) -> None:
    path = tmp_path / "erp.db"
    with sqlite3.connect(path) as connection:
        connection.executescript("""
            create table partners (code text primary key, name text);
            create table ar_invoices (
                invoice_no text primary key, inv_date text, due_date text,
                vendor text references partners, bill_to text references partners,
                total_cents integer, tax_cents integer, status text);
            insert into ar_invoices values
                ('A-1', '2026-01-05 10:00:00', null, '007', 'B/2', 1999, 3, 'open'),
                ('A-2', '2026-01-06 10:00:00', null, 'B/2', '007', -5, 3, 'void'),
                ('A-3', '2025-12-06 10:00:00', null, 'B/2', '007', 250, 3, null);
        """)
    connection.close()
    source = {"SOURCE_URL": f"sqlite:{path}"}
    done = init(source)
    settings = done.result["settings"]
    assert settings["AMOUNT_UNIT"] == "cents"
    assert settings["SOURCE_WHERE"] == '("status" is null or "status" not in (\'void\'))'
    assert "inspect_lake doctor" in done.stderr
    assert batch(tmp_path / "lake", source | settings) == [
        ("A-1", Decimal("19.99")),
        ("A-3", Decimal("2.50")),
    ]


def test_the_sample_table_needs_no_other_settings(database: Database) -> None:
    source = {"SOURCE_URL": database.url("invoice_reader"), **database.env("invoice_reader")}
    settings = init(source).result["settings"]
    assert settings == {
        "SOURCE_TABLE": "public.invoices",
        "INVOICE_ID_COLUMN": "invoice_id",
        "ISSUE_DATE_COLUMN": "issue_date",
        "ISSUER_COLUMN": "issuer_id",
        "RECEIVER_COLUMN": "receiver_id",
        "AMOUNT_COLUMN": "amount_usd",
    }


def test_a_database_without_invoices_says_what_one_needs(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "empty.db"
    sqlite3.connect(path).execute("create table notes (id integer primary key, text text)").connection.close()
    done = init({"SOURCE_URL": f"sqlite:{path}"}, exit_code=78)
    assert "none of the 1 tables that this role can read looks like invoices" in done.stderr
    source = {"SOURCE_URL": database.url("invoice_reader"), **database.env("invoice_reader")}
    done = init(source, "--table", "public.nothing", exit_code=78)
    assert "there is no table public.nothing" in done.stderr
