#!/usr/bin/env bash
# The batch path on an embedded database and a local lake, and the stream's decisions on a file of
# change events: no service, no Docker.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh build
source scripts/env.sh

bold() { if [ -t 1 ]; then printf '\033[1m%s\033[0m\n' "$*"; else printf '%s\n' "$*"; fi; }

if [ -z "${SKIP_BUILD:-}" ]; then
    bold "Building what the demo runs (about 15 minutes on two cores the first time, later seconds)"
    echo "Then, within a minute: mock invoices, the three tasks of the batch path, decisions over a file of change events"
    python3 scripts/progress.py cargo build --release --package all_tasks --no-default-features
    link_tasks "$CARGO_TARGET_DIR/release"
fi
PATH="$CARGO_TARGET_DIR/release:$PATH"

DEMO="$PWD/demo"
mkdir -p "$DEMO/lake"
# The window ends with the day of the first run, so that a second run finds nothing to do.
[ -f "$DEMO/as_of" ] || date -u +%F >"$DEMO/as_of"
AS_OF=$(cat "$DEMO/as_of")
export AS_OF MONTHS=12 LOG_FORMAT=text
export SOURCE_URL="sqlite:$DEMO/invoices.db" LAKE_URL="file://$DEMO/lake"

step() {
    printf '\n'
    bold "$ $*"
    "$@" >"$DEMO/$1.json"
}

if [ ! -f "$DEMO/invoices.db" ]; then
    step populate_tables --customers 1000 --invoices 50000 --seed 42 --until "$AS_OF" --months 24
fi
step query_source
step aggregate_by_business
step write_partitioned_parquet

# The stream's engine over a file of change events, planted frauds among them.
if [ ! -f "$DEMO/events.jsonl" ]; then
    SOURCE_URL="sqlite:$DEMO/stream.db" populate_tables --customers 400 --invoices 20000 --seed 42 \
        --until "$AS_OF" --months 12 --scenarios --labels "$DEMO/labels.csv" --events "$DEMO/events.jsonl" \
        >"$DEMO/events.json"
fi
printf '\n'
bold "$ invoice_consumer --from demo/events.jsonl"
invoice_consumer --from "$DEMO/events.jsonl" >"$DEMO/decisions.jsonl"

# The console's token is for this machine's demo alone; the file keeps only its hash.
rm -f "$DEMO/tokens.txt"
TOKEN=$(invoice_api token --name demo --tokens "$DEMO/tokens.txt" 2>/dev/null | sed 's/.*"token":"\([^"]*\)".*/\1/')

printf '\n'
inspect_lake top --limit 8 >"$DEMO/inspect_lake.json"

files=$(find "$DEMO/lake" -name '*.parquet' -not -path '*/_*' | wc -l)
size=$(du -sh "$DEMO/lake" | cut -f1)
printf '\n'
bold "Where things are"
cat <<EOF
  source   demo/invoices.db
  lake     demo/lake   $files Parquet files, $size
             invoices/issue_date_yearmonth=…/part-0.parquet
             invoice_by_business/issue_date_yearmonth=…/business_id=…/part-0.parquet
             business_last_n_months/as_of=…/months=12/part-0.parquet

  stream   demo/events.jsonl, demo/decisions.jsonl, demo/labels.csv (the planted frauds)

Next: why was an invoice blocked?
  $CARGO_TARGET_DIR/release/invoice_consumer --from demo/events.jsonl --explain \\
      \$(grep -m1 '"status":"block"' demo/decisions.jsonl | grep -o '"invoice_id":[0-9]*' | cut -d: -f2)
Or compare source and lake, month by month
  $CARGO_TARGET_DIR/release/inspect_lake verify --source sqlite:demo/invoices.db \\
      --lake file://$DEMO/lake --as-of $AS_OF --months 12
Or open the console: start this, then http://127.0.0.1:8000/#token=$TOKEN
  $CARGO_TARGET_DIR/release/invoice_api --source sqlite:demo/invoices.db \\
      --lake file://$DEMO/lake --tokens demo/tokens.txt
EOF
