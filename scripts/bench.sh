#!/usr/bin/env bash
# Builds the binaries and measures them against the peers; arguments go to bench/run.py.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/env.sh

cargo build --release --workspace --all-targets
python bench/run.py "$@"
