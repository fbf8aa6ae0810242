#!/usr/bin/env bash
# The part of the official entrypoint that the compose file relies on: a first start makes the
# cluster and runs /docker-entrypoint-initdb.d against a server that only a local socket reaches.
set -euo pipefail

if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") \
        --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 >/dev/null
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    echo 'host replication all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    pg_ctl -w -o "-c listen_addresses=''" start >/dev/null
    # As in the official image, psql without options goes to the database of the user's name.
    query=(psql -v ON_ERROR_STOP=1 --no-psqlrc -q --username "$POSTGRES_USER")
    if [ "$POSTGRES_DB" != postgres ]; then
        "${query[@]}" --dbname postgres -c "create database \"$POSTGRES_DB\""
    fi
    for file in /docker-entrypoint-initdb.d/*; do
        case "$file" in
        *.sh) if [ -x "$file" ]; then "$file"; else . "$file"; fi ;;
        *.sql) "${query[@]}" --dbname "$POSTGRES_DB" -f "$file" ;;
        esac
    done
    pg_ctl -w -m fast stop >/dev/null
fi
if [ "$1" = postgres ]; then
    shift
    exec postgres -c listen_addresses='*' "$@"
fi
exec "$@"
