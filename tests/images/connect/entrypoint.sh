#!/usr/bin/env bash
# What Debezium's image does with its variables: BOOTSTRAP_SERVERS, GROUP_ID, the three storage
# topics, and CONNECT_X_Y, which becomes x.y.
set -euo pipefail
config=/tmp/connect-distributed.properties
converter=org.apache.kafka.connect.json.JsonConverter
{
    echo "bootstrap.servers=$BOOTSTRAP_SERVERS"
    echo "group.id=$GROUP_ID"
    echo "config.storage.topic=$CONFIG_STORAGE_TOPIC"
    echo "offset.storage.topic=$OFFSET_STORAGE_TOPIC"
    echo "status.storage.topic=${STATUS_STORAGE_TOPIC:-connect_status}"
    echo "key.converter=$converter"
    echo "value.converter=$converter"
    echo "plugin.path=/kafka/connect"
    echo "listeners=http://0.0.0.0:8083"
    env | grep '^CONNECT_' | while IFS='=' read -r name value; do
        key=$(echo "${name#CONNECT_}" | tr 'A-Z' 'a-z' | tr '_' '.')
        printf '%s=%s\n' "$key" "$value"
    done
} >"$config"
# shellcheck disable=SC2086
exec java ${HEAP_OPTS:--Xmx512m} -cp '/kafka/libs/*' org.apache.kafka.connect.cli.ConnectDistributed "$config"
