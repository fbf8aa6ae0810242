#!/usr/bin/env bash
# Starts the stack: makes .env with fresh secrets if there is none, builds what is ours, waits until
# everything is healthy. Arguments go to `docker compose up`, for example --wait-timeout 600.
set -euo pipefail
cd "$(dirname "$0")/.."

random_hex() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }
random_fernet_key() { head -c 32 /dev/urandom | base64 | tr '+/' '-_'; }

if [ ! -e .env ]; then
    umask 077
    while IFS= read -r line; do
        case "$line" in
        *=random) echo "${line%random}$(random_hex 16)" ;;
        *=random-fernet) echo "${line%random-fernet}$(random_fernet_key)" ;;
        *) echo "$line" ;;
        esac
    done <.env.example >.env.new
    mv .env.new .env
    echo "made .env with fresh secrets"
fi

docker compose up --detach --build --wait "$@"

# shellcheck disable=SC1091
source .env
cat <<EOF

Airflow    http://127.0.0.1:${AIRFLOW_PORT:-8080}   user ${AIRFLOW_ADMIN_USER:-admin}, password as AIRFLOW_ADMIN_PASSWORD in .env says
S3         http://127.0.0.1:${S3_PORT:-9000}   console http://127.0.0.1:${S3_CONSOLE_PORT:-9001}, keys in .env
Postgres   127.0.0.1:${POSTGRES_PORT:-5432}   database invoices

Mock data: docker compose run --rm populate --customers 1000 --invoices 50000 --until $(date -u +%F)
EOF
