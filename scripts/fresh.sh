#!/usr/bin/env bash
# Tries the project where nothing is: a bare root made by debootstrap, in it a clone of HEAD, an ordinary user with
# sudo, and git, make and sudo, which one needs to come that far. docs/fresh-machine.md says more.
#
#   scripts/fresh.sh demo [SUITE]   README's first `make` command from start to end, nothing cached
#   scripts/fresh.sh sys [SUITE]    set-up, and a build of the crates that need something of the system
#   scripts/fresh.sh image          the task image, compiled from source as `make up` does it
#
# SUITE is bookworm (Debian 12) by default. All mounts are in a namespace of their own, so they end with it, whatever
# ends this script. The machine's Rust, if rustup's, apt sources and certificate authorities are lent.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/env.sh

MODE="${1:-}" SUITE="${2:-bookworm}"
PLACE="$TOOLS/fresh"
say() { printf 'fresh: %s\n' "$*" >&2; }
fail() { say "$1" && exit 78; }

# Debian's sources of this machine, for the suite that is wanted, and its settings for fetching (a proxy, say).
lend_apt() {
    local own file
    own=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    rm -f "$1/etc/apt/sources.list"
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
        if grep -qsE "(^|[[:space:]])$own(-updates|-security)?([[:space:]]|$)" "$file"; then
            sed -E "s/(^|[[:space:]])$own(-updates|-security)?/\1$SUITE\2/g" "$file" >"$1/etc/apt/${file#/etc/apt/}"
        fi
    done
    apt-config dump | grep '^Acquire::' >"$1/etc/apt/apt.conf.d/90lent"
    # Speed alone: this root lives for minutes.
    echo force-unsafe-io >"$1/etc/dpkg/dpkg.cfg.d/90fast"
}

# A root as debootstrap leaves it, kept for the next run.
base() {
    local wanted base="$PLACE/base-$SUITE"
    wanted=$(declare -f base lend_apt | cksum)
    [ "$(cat "$base.made" 2>/dev/null)" != "$wanted" ] || return 0
    say "making a bare $SUITE"
    rm -rf --one-file-system "$base" "$base.made"
    # Its own namespace, since debootstrap mounts /proc in there.
    unshare --mount debootstrap --variant=minbase --include=ca-certificates,git,make,sudo "$SUITE" "$base" \
        >"$base.log" 2>&1 || { tail -n 5 "$base.log" >&2 && fail "debootstrap could not make $SUITE, see $base.log"; }
    rm -rf "$base"/var/cache/apt/archives/*.deb
    lend_apt "$base"
    useradd --root "$base" --create-home --shell /bin/bash newcomer
    echo 'newcomer ALL=(ALL) NOPASSWD: ALL' >"$base/etc/sudoers.d/newcomer"
    echo "$wanted" >"$base.made"
}

# Settings for the network that this machine has in its environment, and the files that they name.
lend_network() {
    local bundle=/etc/ssl/certs/ca-certificates.crt
    cp "$bundle" "$1$bundle"
    # And where the package of authorities, when it is configured again, does not write.
    cp "$bundle" "$1/lent-authorities.crt"
    ! compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null ||
        cp /usr/local/share/ca-certificates/*.crt "$1/usr/local/share/ca-certificates/"
    cp /etc/resolv.conf /etc/hosts "$1/etc/"
    env | grep -E '^([a-zA-Z_]*_proxy|[A-Z_]*_PROXY|SSL_CERT_[A-Z]+|[A-Z]+_CA_BUNDLE|GIT_SSL_CAINFO|PIP_CERT|CARGO_HTTP_[A-Z]+|RUSTUP_[A-Z_]+)=' |
        grep -v '^RUSTUP_HOME=' | sed "s|=$bundle$|=/lent-authorities.crt|" >"$1/lent.env" || true
}

# In the namespace. The user's home has rustup's toolchains read-only, and its commands.
prepare() {
    local home="$1/home/newcomer" cargo="${CARGO_HOME:-$HOME/.cargo}" rustup="${RUSTUP_HOME:-$HOME/.rustup}"
    mount -t proc proc "$1/proc"
    mount --rbind /dev "$1/dev"
    if [ -d "$rustup/toolchains" ]; then
        mkdir -p "$home/.rustup" "$home/.cargo"
        cp -a "$cargo/bin" "$home/.cargo/bin"
        mount --bind "$rustup" "$home/.rustup"
        mount -o remount,bind,ro "$home/.rustup"
    fi
    git clone --quiet --no-hardlinks . "$home/clone"
    chroot "$1" chown -R newcomer: /home/newcomer/clone
    chroot "$1" chown newcomer: /home/newcomer /home/newcomer/.cargo 2>/dev/null || true
}

# as_newcomer ROOT COMMAND: in the clone, with a bare environment.
as_newcomer() {
    local lent
    mapfile -t lent <"$1/lent.env"
    # shellcheck disable=SC2016 # Expanded in there.
    nice -n "${FRESH_NICE:-0}" chroot --userspec=newcomer:newcomer "$1" /usr/bin/env -i HOME=/home/newcomer USER=newcomer LANG=C.UTF-8 \
        PATH=/home/newcomer/.cargo/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin \
        ${CARGO_BUILD_JOBS:+"CARGO_BUILD_JOBS=$CARGO_BUILD_JOBS"} "${lent[@]}" \
        bash -c 'cd ~/clone && eval "$1"' bash "$2"
}

# Every line with the time since the start, so that the parts can be told.
with_times() {
    local line
    while IFS= read -r line; do
        printf '%3d:%02d %s\n' $(((SECONDS - BEGAN) / 60)) $(((SECONDS - BEGAN) % 60)) "$line"
    done
}

run_demo() {
    local command
    command=$(sed -n '/^```sh/,/^```$/p' README.md | grep -m1 '^make ' | sed 's/ *#.*//')
    [ -n "$command" ] || fail "README has no make command in a block of commands"
    say "$command, in $SUITE"
    as_newcomer "$1" "$command" 2>&1 | with_times
}

# What the build depends on and Cargo can't see is the key of the folder that it is kept in: all packages with their
# versions, so that one more or less builds everything anew. What Cargo.lock says, Cargo compares by itself.
run_sys() {
    local root=$1 home="$1/home/newcomer" key kept crate crates
    as_newcomer "$root" "scripts/setup.sh build" 2>&1 | with_times
    key=$({
        chroot "$root" dpkg-query -W
        as_newcomer "$root" "rustc -vV"
        cat scripts/setup.sh scripts/look.sh scripts/system_crates.py docker/tasks/Dockerfile
    } | sha256sum | cut -c1-16)
    kept="$PLACE/target-$SUITE-$key"
    [ -d "$kept" ] || rm -rf --one-file-system "$PLACE/target-$SUITE-"*
    mkdir -p "$kept" "$home/target" "$home/.cargo/registry" "$PLACE/registry"
    mount --bind "$kept" "$home/target"
    mount --bind "$PLACE/registry" "$home/.cargo/registry"
    chroot "$root" chown newcomer: /home/newcomer/target /home/newcomer/.cargo/registry
    crates=$(as_newcomer "$root" "python3 scripts/system_crates.py")
    [ "$(wc -w <<<"$crates")" -gt 5 ] || fail "only these crates need the system: $crates; scripts/system_crates.py misses some"
    for crate in $crates; do
        say "$crate"
        # Nothing of it runs, so nothing is optimised.
        as_newcomer "$root" "CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_TARGET_DIR=~/target cargo build --quiet --release --locked --package $crate" 2>&1 | with_times || {
            say "$crate does not compile on a bare $SUITE after scripts/setup.sh build: is a package missing there, and in docker/tasks/Dockerfile?"
            return 1
        }
    done
    say "$(wc -w <<<"$crates") crates that need the system compile on a bare $SUITE"
}

CHILD=
# Out here nothing is mounted in the root, and by --kill-child nobody is left in it.
clean() {
    [ -z "$CHILD" ] || kill -KILL "$CHILD" 2>/dev/null || true
    [ -z "$CHILD" ] || wait "$CHILD" 2>/dev/null || true
    rm -rf --one-file-system "$ROOT"
}

# Read whole before it runs, so that a change of this file meanwhile does no harm.
main() {
    case "$MODE" in
    demo | sys) ;;
    image)
        # The test that otherwise compiles only what needs the system.
        TASK_IMAGE=whole exec pytest -q -s tests/test_stack_from_source.py
        ;;
    inside-demo | inside-sys)
        BEGAN=$SECONDS
        trap 'exit 130' INT TERM
        prepare "$3"
        lend_network "$3"
        "run_${MODE#inside-}" "$3"
        say "done in $((SECONDS - BEGAN)) s"
        exit
        ;;
    *)
        say "usage: scripts/fresh.sh demo|sys [bookworm|trixie], or scripts/fresh.sh image"
        exit 2
        ;;
    esac

    [ "$(id -u)" -eq 0 ] || exec sudo --preserve-env "$0" "$@"
    for command in debootstrap unshare chroot; do
        command -v "$command" >/dev/null || fail "a bare root needs $command: install debootstrap and util-linux"
    done
    unshare --mount --pid --fork true 2>/dev/null || fail "a bare root needs namespaces of its own, which are not permitted here: run it as root of a machine, not in a closed container"
    mkdir -p "$PLACE"
    exec 9>"$PLACE/lock"
    flock 9
    base
    ROOT=$(mktemp -d "$PLACE/root.XXXXXX")
    trap clean EXIT
    trap 'exit 130' INT TERM
    cp -a "$PLACE/base-$SUITE/." "$ROOT"
    chmod 755 "$ROOT"
    unshare --mount --propagation private --pid --fork --kill-child "$0" "inside-$MODE" "$SUITE" "$ROOT" 9>&- &
    CHILD=$!
    wait "$CHILD"
    exit
}

main "$@"
