#!/usr/bin/env bash
# First start of the database: tables, indexes, roles and publication, passwords for the roles, and
# a database of its own for Airflow. Afterwards nothing logs in as superuser any more.
set -euo pipefail
# The image's own scripts know them by these names alone.
export PGUSER="$POSTGRES_USER" PGDATABASE="$POSTGRES_DB"

for file in /postgres-scripts/sql/*.sql; do
    psql -v ON_ERROR_STOP=1 --no-psqlrc -q -f "$file"
done

# \getenv, because arguments of a command are in the process list.
psql -v ON_ERROR_STOP=1 --no-psqlrc -q <<'SQL'
\getenv reader INVOICE_READER_PASSWORD
\getenv writer INVOICE_WRITER_PASSWORD
\getenv capture INVOICE_CAPTURE_PASSWORD
\getenv risk INVOICE_RISK_PASSWORD
\getenv api INVOICE_API_PASSWORD
\getenv airflow AIRFLOW_DB_PASSWORD
alter role invoice_reader password :'reader';
alter role invoice_writer password :'writer';
alter role invoice_capture password :'capture';
alter role invoice_risk password :'risk';
alter role invoice_api password :'api';
create role airflow login password :'airflow';
create database airflow owner airflow;
revoke connect, temporary on database invoices from public;
revoke connect on database airflow from public;
grant connect on database invoices to invoice_reader, invoice_writer, invoice_capture, invoice_risk, invoice_api;
SQL
