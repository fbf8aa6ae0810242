#!/usr/bin/env bash
# Copies .env.example to the file named, with fresh random secrets. A file that exists is left alone.
set -euo pipefail
ENV_FILE=$(realpath -m "${1:-.env}")
cd "$(dirname "$0")/.."

random_hex() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }
random_fernet_key() { head -c 32 /dev/urandom | base64 | tr '+/' '-_'; }

[ ! -e "$ENV_FILE" ] || exit 0
umask 077
while IFS= read -r line; do
    case "$line" in
    *=random) echo "${line%random}$(random_hex 16)" ;;
    *=random-fernet) echo "${line%random-fernet}$(random_fernet_key)" ;;
    *) echo "$line" ;;
    esac
done <.env.example >"$ENV_FILE.new"
mv "$ENV_FILE.new" "$ENV_FILE"
echo "made $ENV_FILE with fresh secrets"
