#!/usr/bin/env bash
# Makes what is installed where no compiler is: a wheel and a tarball, each with the one executable, the licences of
# all that is in it and a bill of materials. docs/install.md says how they are used.
#
#   scripts/dist.sh [FOLDER]    into ./dist, or the folder; SKIP_BUILD=1 takes the executable that is there
set -euo pipefail
DIST=$(realpath -m "${1:-$(dirname "$0")/../dist}")
cd "$(dirname "$0")/.."
scripts/setup.sh dist
source scripts/env.sh
PATH="$TOOLS/packaging/bin:$PATH"

say() { printf 'dist: %s\n' "$*" >&2; }
fail() { say "$*" && exit 1; }

[ -n "${SKIP_BUILD:-}" ] || python3 scripts/progress.py cargo build --release --locked --package all_tasks
EXECUTABLE="$CARGO_TARGET_DIR/release/all_tasks"
VERSION=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
# Times in the archives are the commit's, so that the same commit and compiler make the same files.
SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}"
export SOURCE_DATE_EPOCH

has=$("$EXECUTABLE" --list | sort | tr '\n' ' ')
named=$(sed -n 's/ = "invoice_platform.launch:main"$//p' packaging/pyproject.toml | sort | tr '\n' ' ')
[ "$has" = "$named" ] || fail "packaging/pyproject.toml names the commands $named and the executable has $has"

STAGE=$(mktemp -d)
trap 'rm -rf "$STAGE"' EXIT
cp -R packaging/. LICENSE "$STAGE"
echo "$VERSION" >"$STAGE/VERSION"
strip -o "$STAGE/all_tasks" "$EXECUTABLE"
python packaging/notices.py "$STAGE"

# Beside the wheel, as each takes a core for a while.
FOLDER="$STAGE/invoice-platform-$VERSION"
mkdir -p "$FOLDER/bin" "$DIST"
cp "$STAGE/all_tasks" "$FOLDER/bin"
link_tasks "$FOLDER/bin"
(cd "$STAGE" && cp LICENSE README.md THIRD-PARTY-LICENSES.txt rust.cdx.json "$FOLDER")
tar --create --directory "$STAGE" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
    "$(basename "$FOLDER")" | gzip --no-name >"$STAGE/tarball" &
TARBALL=$!

say "the wheel and the tarball"
(cd "$STAGE" && hatchling build --target wheel --directory "$STAGE/raw") >&2
# Finds out which Linux is old enough for it, and says so in its name.
auditwheel repair --wheel-dir "$STAGE/wheel" "$STAGE"/raw/*.whl >&2
WHEEL=$(cd "$STAGE/wheel" && echo *.whl)
PLATFORM=${WHEEL##*-py3-none-} PLATFORM=${PLATFORM%.whl}
brought=$(python -m zipfile --list "$STAGE/wheel/$WHEEL" | sed -n 's/^\(invoice_platform\.libs[^ ]*\).*/\1/p' | tr '\n' ' ')
[ -z "$brought" ] || fail "the executable needs libraries that not every Linux has: $brought; unset OPENSSL_NO_VENDOR and build again"

wait "$TARBALL"
NAME="invoice-platform-$VERSION-$PLATFORM"
rm -f "$DIST"/invoice_platform-*.whl "$DIST"/invoice-platform-*
mv "$STAGE/wheel/$WHEEL" "$DIST"
mv "$STAGE/tarball" "$DIST/$NAME.tar.gz"
cp "$STAGE/rust.cdx.json" "$DIST/$NAME.cdx.json"
(cd "$DIST" && sha256sum "$WHEEL" "$NAME.tar.gz" "$NAME.cdx.json" >SHA256SUMS)
ls -lh "$DIST" >&2
