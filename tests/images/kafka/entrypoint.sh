#!/usr/bin/env bash
# What Apache's image does with its variables: KAFKA_LOG_DIRS becomes log.dirs, and so on.
set -euo pipefail
config=/tmp/server.properties
env | grep '^KAFKA_' | grep -vE '^KAFKA_(HEAP_OPTS|OPTS|JVM)' | while IFS='=' read -r name value; do
    key=$(echo "${name#KAFKA_}" | tr 'A-Z' 'a-z' | tr '_' '.')
    printf '%s=%s\n' "$key" "$value"
done >"$config"
java -Xmx256m -cp '/opt/kafka/libs/*' kafka.tools.StorageTool format \
    --ignore-formatted --cluster-id "$CLUSTER_ID" --config "$config"
# shellcheck disable=SC2086
exec java ${KAFKA_HEAP_OPTS:--Xmx512m} -cp '/opt/kafka/libs/*' kafka.Kafka "$config"
