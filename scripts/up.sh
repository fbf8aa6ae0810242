#!/usr/bin/env bash
# Starts the stack: makes .env with fresh secrets if there is none, builds what is ours, waits until
# everything is healthy. Arguments go to `docker compose up`; COMPOSE_PROFILES adds profiles, and
# UP_BUILD=--no-build takes images as they are.
set -euo pipefail
cd "$(dirname "$0")/.."

ENV_FILE="${COMPOSE_ENV_FILES:-.env}"
scripts/make-env.sh "$ENV_FILE"

docker compose up --detach "${UP_BUILD:---build}" --wait "$@"

# Read, not sourced: a password may hold what a shell would act on.
value() { sed -n "s/^$1=//p" "$ENV_FILE" | tail -n 1; }

cat <<EOF

Airflow    http://127.0.0.1:$(value AIRFLOW_PORT)   user $(value AIRFLOW_ADMIN_USER), password: AIRFLOW_ADMIN_PASSWORD in .env
S3         http://127.0.0.1:$(value S3_PORT)   console http://127.0.0.1:$(value S3_CONSOLE_PORT), keys in .env
Postgres   127.0.0.1:$(value POSTGRES_PORT)   database invoices

Mock data: docker compose run --rm populate --customers 1000 --invoices 50000 --until $(date -u +%F)
EOF
