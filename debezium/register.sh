#!/usr/bin/env bash
# Registers the connector, or brings it up to date, and waits until it and its task run. Running it
# again changes nothing. The worker's environment holds SOURCE_HOST, SOURCE_PORT, SOURCE_DATABASE,
# SOURCE_USER, SOURCE_PASSWORD and SOURCE_SSLMODE; this script needs none of them.
#
#   CONNECT_URL     where Connect listens (http://localhost:8083)
#   CONNECTOR       name of the connector (invoices)
#   TIMEOUT         seconds to wait (60)
#   SNAPSHOT_MODE   initial; when_needed after a lost slot, see docs/runbook/lost-slot.md
#
# Exit codes: 0 it runs, 75 Connect does not answer in time, 78 the connector cannot run.
set -euo pipefail
cd "$(dirname "$0")"

CONNECT_URL="${CONNECT_URL:-http://localhost:8083}"
CONNECTOR="${CONNECTOR:-invoices}"
config=$(sed "s/\"snapshot.mode\": \"initial\"/\"snapshot.mode\": \"${SNAPSHOT_MODE:-initial}\"/" connector.json)
deadline=$((SECONDS + ${TIMEOUT:-60}))

say() { printf 'register: %s\n' "$*" >&2; }

wait_or_give_up() {
    if [ "$SECONDS" -ge "$deadline" ]; then
        say "$1"
        exit "$2"
    fi
    sleep 0.5
}

until curl --silent --fail --max-time 5 --output /dev/null "$CONNECT_URL/connectors"; do
    wait_or_give_up "Kafka Connect does not answer at $CONNECT_URL" 75
done

# PUT makes the connector or updates it; 409 is a rebalance of the workers that is soon over.
while true; do
    answer=$(curl --silent --show-error --max-time 30 --request PUT --write-out '\n%{http_code}' \
        --header 'Content-Type: application/json' --data "$config" \
        "$CONNECT_URL/connectors/$CONNECTOR/config" || true)
    case "${answer##*$'\n'}" in
    200 | 201) break ;;
    400)
        say "the configuration is refused: ${answer%$'\n'*}"
        exit 78
        ;;
    *) wait_or_give_up "the connector was not accepted: ${answer%$'\n'*}" 75 ;;
    esac
done

# A connector that was stopped, as for a move to another cluster, goes on.
curl --silent --max-time 30 --request PUT "$CONNECT_URL/connectors/$CONNECTOR/resume" || true

while true; do
    status=$(curl --silent --max-time 5 "$CONNECT_URL/connectors/$CONNECTOR/status" || true)
    case "$status" in
    *'"state":"FAILED"'*)
        say "the connector failed: $status"
        exit 78
        ;;
    *'"tasks":[{'*'"state":"RUNNING"'*)
        say "the connector $CONNECTOR runs"
        exit 0
        ;;
    esac
    wait_or_give_up "the connector does not run: $status" 75
done
