#!/usr/bin/env bash
# Gets the images that the compose file and the Dockerfiles name: from a registry where one answers,
# else stand-ins of the same name made from packages, so that the files under test are the users'.
set -euo pipefail
cd "$(dirname "$0")"
source ../../scripts/env.sh

DEBEZIUM_VERSION=3.7.0.Final
STAMP=invoice-platform.stand-in
SCRATCH="$TOOLS/images"
mkdir -p "$SCRATCH"

say() { printf 'images: %s\n' "$*" >&2; }

# The images of the compose file that are not built from this repository.
image_of() { sed -nE "s|^ *image: ($1:.*)|\1|p" ../../docker-compose.yaml | head -n 1; }

# Present is: pulled, or a stand-in built from the files that are here now.
is_current() {
    local stamp
    stamp=$(docker image inspect -f "{{index .Config.Labels \"$STAMP\"}}" "$1" 2>/dev/null) || return 1
    [ -z "$stamp" ] || [ "$stamp" = "$2" ]
}

debian() {
    local root="$SCRATCH/debian"
    rm -rf "$root"
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
    rm -rf "$root"
}

jars() {
    mvn --quiet --batch-mode -Dstyle.color=never -f pom.xml dependency:copy-dependencies \
        -DincludeScope=runtime "-DoutputDirectory=$1" >&2
}

# Puts beside a Dockerfile what it copies and git doesn't hold.
fill_context() {
    case "$1" in
    silo) cp "$TOOLS/bin/minio" "$2/" ;;
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
    wanted=$(cat "$folder"/* pom.xml build.sh 2>/dev/null | sha256sum | cut -c1-16)
    ! is_current "$image" "$wanted" || return 0
    if timeout 120 docker pull --quiet "$image" >/dev/null 2>&1; then
        return 0
    fi
    say "no registry has $image for us: making a stand-in from packages"
    if [ "$folder" = debian ]; then
        debian "$image" "$wanted"
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
}

get debian debian:bookworm-slim
for folder in ${*:-postgres silo redis kafka connect}; do
    case "$folder" in
    silo) get silo "$(image_of pgsty/silo)" ;;
    kafka) get kafka "$(image_of apache/kafka)" ;;
    connect) get connect "$(image_of quay.io/debezium/connect)" ;;
    *) get "$folder" "$(image_of "$folder")" ;;
    esac
done
