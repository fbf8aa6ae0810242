#!/usr/bin/env bash
# Applies the SQL files in the order of their names, each in one transaction, then sets the passwords of roles
# whose INVOICE_ROLE_PASSWORD is given. PGHOST, PGDATABASE, PGUSER and PGPASSWORD say where, and as whom.
set -euo pipefail
sql() { psql -v ON_ERROR_STOP=1 --no-psqlrc --quiet "$@"; }

for file in /sql/*.sql; do
    echo "migrations: $(basename "$file")" >&2
    sql --single-transaction --file "$file"
done
for role in reader writer capture risk api; do
    variable="INVOICE_${role^^}_PASSWORD"
    [ -n "${!variable:-}" ] || continue
    # \getenv, because arguments of a command are in the process list.
    printf '%s\n' "\\getenv password $variable" "alter role invoice_$role password :'password';" | sql
done
