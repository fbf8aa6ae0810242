#!/usr/bin/env bash
# Gets the images that the compose file and the Dockerfiles name: from a registry where one answers,
# else stand-ins of the same name made from packages, so that the files under test are the users'.
#
#   build.sh VERSION   …and the two images of ours that no compiler makes, tagged with VERSION
#   build.sh --builder  only what the task image is compiled in and put on
#
# What took minutes to make is kept in the user's cache folder, named by the hash of its sources: an
# engine that has lost its images loads them from there.
set -euo pipefail
cd "$(dirname "$0")"
source ../../scripts/env.sh

DEBEZIUM_VERSION=3.7.0.Final
STAMP=invoice-platform.stand-in
SCRATCH="$TOOLS/images"
mkdir -p "$SCRATCH"

# Clones share the cache folder and the engine: one at a time.
exec 9>"$SCRATCH/lock"
flock 9

say() { printf 'images: %s\n' "$*" >&2; }

# The images of the compose file that are not built from this repository.
image_of() { sed -nE "s|^ *image: ($1:.*)|\1|p" ../../docker-compose.yaml | head -n 1; }

# Files, and what this script does with them; the rest of it may change.
hash_of() {
    { cat "$@" pom.xml && declare -f debian jars fill_context && echo "$DEBEZIUM_VERSION"; } | sha256sum | cut -c1-16
}

# keep NAME HASH IMAGE: in place of what was kept for earlier sources.
keep() {
    docker save "$3" | gzip -1 >"$SCRATCH/$1.unfinished"
    rm -f "$SCRATCH/$1"-????????????????.tar.gz
    mv "$SCRATCH/$1.unfinished" "$SCRATCH/$1-$2.tar.gz"
}

load_kept() {
    [ -f "$SCRATCH/$1-$2.tar.gz" ] || return 1
    say "loading $1 from $SCRATCH"
    docker load --quiet --input "$SCRATCH/$1-$2.tar.gz" >/dev/null
}

# Present is: pulled, or a stand-in built from the files that are here now.
is_current() {
    local stamp
    stamp=$(docker image inspect -f "{{index .Config.Labels \"$STAMP\"}}" "$1" 2>/dev/null) || return 1
    [ -z "$stamp" ] || [ "$stamp" = "$2" ]
}

debian() {
    local root="$SCRATCH/debian"
    # An interrupted debootstrap leaves /proc mounted in its folder.
    ! mountpoint -q "$root/proc" || umount "$root/proc"
    rm -rf --one-file-system "$root"
    debootstrap --variant=minbase bookworm "$root" >"$SCRATCH/debootstrap.log" 2>&1 || {
        tail -n 5 "$SCRATCH/debootstrap.log" >&2
        return 1
    }
    rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale,info}
    # A proxy that inspects TLS has its authority in the host's bundle. Not at the place that the
    # package ca-certificates writes to.
    local bundle=/usr/local/share/host-ca-bundle.crt
    cp /etc/ssl/certs/ca-certificates.crt "$root$bundle"
    tar -C "$root" -c . | docker import -c 'CMD ["bash"]' -c "ENV SSL_CERT_FILE=$bundle PIP_CERT=$bundle" \
        -c "LABEL $STAMP=$2" - "$1" >/dev/null
    rm -rf --one-file-system "$root"
}

jars() {
    mvn --quiet --batch-mode -Dstyle.color=never -f pom.xml dependency:copy-dependencies \
        -DincludeScope=runtime "-DoutputDirectory=$1" >&2
}

# Puts beside a Dockerfile what it copies and git doesn't hold.
fill_context() {
    case "$1" in
    silo) cp "$TOOLS/bin/minio" "$2/" ;;
    rust)
        mkdir "$2/toolchain"
        cp -a "$(rustc --print sysroot)"/{bin,lib} "$2/toolchain/"
        ;;
    kafka) jars "$2/jars" ;;
    connect)
        jars "$2/jars"
        mvn --quiet --batch-mode -Dstyle.color=never dependency:copy "-DoutputDirectory=$2" \
            "-Dartifact=io.debezium:debezium-connector-postgres:$DEBEZIUM_VERSION:tar.gz:plugin" >&2
        mkdir -p "$2/connect"
        tar -xzf "$2/debezium-connector-postgres-$DEBEZIUM_VERSION-plugin.tar.gz" -C "$2/connect"
        ;;
    esac
}

get() {
    local folder=$1 image=$2 wanted
    wanted=$(hash_of "$folder"/*)
    ! is_current "$image" "$wanted" || return 0
    ! load_kept "$folder" "$wanted" || return 0
    if timeout 120 docker pull --quiet "$image" >/dev/null 2>&1; then
        return 0
    fi
    say "no registry has $image for us: making a stand-in from packages"
    if [ "$folder" = debian ]; then
        debian "$image" "$wanted"
        keep "$folder" "$wanted" "$image"
        return
    fi
    local context="$SCRATCH/$folder"
    rm -rf "$context"
    cp -r "$folder" "$context"
    fill_context "$folder" "$context"
    # By Compose, which brings a BuildKit client of its own: `docker build` may have none.
    COMPOSE_BAKE=false docker compose --project-name stand-ins --file - build --quiet <<EOF
services:
  $folder:
    image: $image
    build: {context: "$context", labels: {"$STAMP": "$wanted"}}
EOF
    rm -rf "$context"
    # The toolchain is on this machine anyway.
    [ "$folder" = rust ] || keep "$folder" "$wanted" "$image"
}

# An image of ours, as compose builds it; its tag is the hash of its folder.
get_ours() {
    local service=$1 name=$2 folder=$3 version=$4 image wanted
    image="invoice-platform/$name"
    wanted=$(hash_of "../../$folder"/*)
    if ! docker image inspect "$image:$wanted" >/dev/null 2>&1 && ! load_kept "$name" "$wanted"; then
        say "building $image"
        # Compose wants every variable of the file, though a build uses none of the secrets.
        (cd ../.. && PLATFORM_VERSION=$wanted COMPOSE_BAKE=false COMPOSE_FILE=docker-compose.yaml \
            docker compose --env-file .env.example build --quiet "$service")
        keep "$name" "$wanted" "$image:$wanted"
    fi
    docker tag "$image:$wanted" "$image:$version"
}

get debian debian:bookworm-slim
if [ "${1:-}" = --builder ]; then
    get rust "$(sed -n 's/^ARG BUILDER_IMAGE=//p' ../../docker/tasks/Dockerfile)"
    exit
fi
get postgres "$(image_of postgres)"
get silo "$(image_of pgsty/silo)"
get redis "$(image_of redis)"
get kafka "$(image_of apache/kafka)"
get connect "$(image_of quay.io/debezium/connect)"
[ $# -eq 0 ] || {
    get_ours docker-socket-proxy socket-proxy docker/socket_proxy "$1"
    get_ours airflow-init airflow docker/airflow "$1"
}
