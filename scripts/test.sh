#!/usr/bin/env bash
# Runs every check in the order that fails soonest.
#
#   scripts/test.sh          all of it
#   scripts/test.sh lint     formatting and lints
#   scripts/test.sh fresh    set-up and the crates that need the system, in a bare Debian
#   scripts/test.sh rust     unit tests and both sets of binaries
#   scripts/test.sh e2e      tests/ against the binaries already built
#   scripts/test.sh faults   of those, the ones that break something on purpose
#   scripts/test.sh deny     dependencies against deny.toml
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/env.sh

FAILPOINT_BINARIES=(populate_tables query_source aggregate_by_business write_partitioned_parquet inspect_lake invoice_consumer)

step() { printf '\n== %s\n' "$*" >&2; }

lint() {
    step "formatting and lints"
    ruff check .
    ruff format --check .
    cargo fmt --check
    cargo clippy --release --workspace --all-targets -- -D warnings
}

# Failpoints are compiled in first: target/release is left with plain binaries. Always the whole
# workspace, or Cargo would compile Polars once more with other features.
binaries() {
    step "binaries with failpoints"
    cargo build --release --workspace --bins --features invoices/failpoints
    mkdir -p "$CARGO_TARGET_DIR/failpoints"
    for name in "${FAILPOINT_BINARIES[@]}"; do
        cp -f "$CARGO_TARGET_DIR/release/$name" "$CARGO_TARGET_DIR/failpoints/"
    done
    step "binaries"
    cargo build --release --workspace --bins
}

# What a newcomer's machine lacks is found here: docs/fresh-machine.md.
bare_root() {
    step "bare root"
    scripts/fresh.sh sys
}

unit_tests() {
    step "unit tests"
    cargo test --release --workspace
}

# Tests that mostly wait, for the compose stack or for Java's servers, run beside the others; what they print
# follows at the end.
WAITING=(tests/test_stack*.py tests/test_catalogs.py tests/test_spark.py)

end_to_end() {
    step "end-to-end tests, those that mostly wait beside the others"
    local printed beside failed=0
    printed=$(mktemp)
    pytest "${WAITING[@]}" "$@" >"$printed" 2>&1 &
    beside=$!
    pytest tests "${WAITING[@]/#/--ignore=}" "$@" || failed=$?
    wait "$beside" || failed=$?
    cat "$printed"
    rm -f "$printed"
    return "$failed"
}

case "${1:-all}" in
all)
    lint
    bare_root
    binaries
    unit_tests
    end_to_end
    ;;
lint) lint ;;
fresh) bare_root ;;
rust)
    binaries
    unit_tests
    ;;
e2e) end_to_end "${@:2}" ;;
deny) cargo deny check "${@:2}" ;;
faults)
    export FAULTS=all
    end_to_end -m faults -rP "${@:2}"
    ;;
*)
    echo "usage: scripts/test.sh [lint|fresh|rust|e2e|faults|deny]" >&2
    exit 2
    ;;
esac
