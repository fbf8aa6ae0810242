#!/usr/bin/env bash
# Runs every check in the order that fails soonest.
#
#   scripts/test.sh          all of it
#   scripts/test.sh lint     formatting and lints, without compiling anything to run
#   scripts/test.sh fresh    set-up and the crates that need the system, in a bare Debian
#   scripts/test.sh rust     lints and unit tests, and both executables
#   scripts/test.sh e2e      tests/ against the executables already built
#   scripts/test.sh questions   generated questions to query_lake and DuckDB, for as long as --minutes says
#   scripts/test.sh faults   of those, the ones that break something on purpose
#   scripts/test.sh kubernetes   the chart on a Kubernetes of one node
#   scripts/test.sh deny     dependencies against deny.toml
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/env.sh

step() { printf '\n== %s\n' "$*" >&2; }

formatting() {
    step "formatting"
    ruff check .
    ruff format --check .
    git ls-files -z '*.sh' .ci/run | xargs -0 -n 1 bash -n
    cargo fmt --check
}

lint() {
    formatting
    step "lints"
    cargo clippy --release --workspace --all-targets -- -D warnings
}

# Clippy in the compiler's place, for the workspace's own crates: lints, unit tests and failpoints are one compilation,
# on the third-party crates of every other build. `cargo clippy` would go through all of those once more
# (decision 0094).
checked() {
    RUSTC_WORKSPACE_WRAPPER=clippy-driver CLIPPY_ARGS=-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__ "$@"
}

unit_tests() {
    step "lints and unit tests"
    checked python3 scripts/progress.py cargo test --release --workspace --features all_tasks/failpoints --no-run
    checked cargo test --release --workspace --features all_tasks/failpoints
}

# Failpoints are compiled in first: target/release is left with the plain executable.
binaries() {
    step "the executable with failpoints"
    checked python3 scripts/progress.py cargo build --release --package all_tasks --features failpoints
    mkdir -p "$CARGO_TARGET_DIR/failpoints"
    cp -f "$CARGO_TARGET_DIR/release/all_tasks" "$CARGO_TARGET_DIR/failpoints/"
    link_tasks "$CARGO_TARGET_DIR/failpoints"
    step "the executable"
    python3 scripts/progress.py cargo build --release --package all_tasks
    link_tasks "$CARGO_TARGET_DIR/release"
}

# What a newcomer's machine lacks is found here: docs/fresh-machine.md.
bare_root() {
    step "bare root"
    scripts/fresh.sh sys
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
    pytest tests "${WAITING[@]/#/--ignore=}" --ignore=tests/test_kubernetes.py "$@" || failed=$?
    wait "$beside" || failed=$?
    cat "$printed"
    rm -f "$printed"
    return "$failed"
}

case "${1:-all}" in
all)
    formatting
    bare_root
    unit_tests
    binaries
    end_to_end
    ;;
lint) lint ;;
fresh) bare_root ;;
rust)
    unit_tests
    binaries
    ;;
e2e) end_to_end "${@:2}" ;;
questions) python tests/generate_questions.py "${@:2}" ;;
deny) cargo deny check "${@:2}" ;;
kubernetes) pytest tests/test_kubernetes.py "${@:2}" ;;
faults)
    export FAULTS=all
    end_to_end -m faults -rP "${@:2}"
    ;;
*)
    echo "usage: scripts/test.sh [lint|fresh|rust|e2e|questions|faults|kubernetes|deny]" >&2
    exit 2
    ;;
esac
