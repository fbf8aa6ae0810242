# shellcheck shell=bash
# Looks whether the machine can build, by doing small what the build does: a package that is installed by halves is
# found before the first crate compiles. Sourced by setup.sh.

# What is tried, and Debian's and Ubuntu's packages that bring it.
BUILD_PROBES=(c_compiler cxx_compiler make cmake pkg_config openssl protoc perl curl git python)
declare -A PACKAGES=(
    [c_compiler]=build-essential [cxx_compiler]=build-essential [make]=build-essential [cmake]=cmake
    [pkg_config]=pkg-config [openssl]=libssl-dev [protoc]="protobuf-compiler libprotobuf-dev" [perl]=perl
    [curl]="curl ca-certificates" [git]=git [python]="python3 python3-venv"
)
declare -A MEANING=(
    [c_compiler]="the C compiler cannot make a program" [cxx_compiler]="the C++ compiler cannot make a program"
    [make]="make does not run" [cmake]="cmake does not run" [pkg_config]="pkg-config does not run"
    [openssl]="a C program cannot be linked with OpenSSL"
    [protoc]="protoc cannot compile a file that imports google/protobuf/any.proto" [perl]="perl does not run"
    [curl]="curl does not run" [git]="git does not run"
    [python]="Python 3.11 or newer cannot make a virtual environment"
)

probe_c_compiler() {
    printf '#include <stdio.h>\nint main(void) { return puts("works") < 0; }\n' >c.c
    "${CC:-cc}" c.c -o c && ./c
}
probe_cxx_compiler() {
    printf '#include <string>\nint main() { return std::string("works").empty(); }\n' >cxx.cc
    "${CXX:-c++}" cxx.cc -o cxx && ./cxx
}
probe_make() { printf 'works:\n\ttrue\n' >makefile && make --silent --file makefile; }
probe_cmake() { cmake --version; }
probe_pkg_config() { "${PKG_CONFIG:-pkg-config}" --version; }
probe_openssl() {
    local flags
    if [ -n "${OPENSSL_DIR:-}" ]; then
        flags="-I$OPENSSL_DIR/include -L${OPENSSL_LIB_DIR:-$OPENSSL_DIR/lib} -lssl -lcrypto"
    else
        flags=$("${PKG_CONFIG:-pkg-config}" --cflags --libs openssl) || return
    fi
    printf '#include <openssl/ssl.h>\nint main(void) { return SSL_CTX_new(TLS_client_method()) == 0; }\n' >openssl.c
    # shellcheck disable=SC2086 # Several words.
    "${CC:-cc}" openssl.c $flags -o openssl
}
probe_protoc() {
    printf 'syntax = "proto3";\nimport "google/protobuf/any.proto";\nmessage M { google.protobuf.Any any = 1; }\n' >m.proto
    "${PROTOC:-protoc}" --proto_path=. ${PROTOC_INCLUDE:+"--proto_path=$PROTOC_INCLUDE"} --descriptor_set_out=m.bin m.proto
}
probe_perl() { perl -e 'exit 0'; }
probe_curl() { curl --version; }
probe_git() { git --version; }
probe_python() {
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "this is Python " + sys.version.split()[0])' &&
        python3 -m venv --clear venv && venv/bin/python -m pip --version
}

# What only the tests need; the images' engine and Airflow are looked at by the tests that use them.
TEST_PROBES=(java maven psql redis openssl_command chromium debootstrap strip)
PACKAGES+=(
    [java]=default-jre-headless [maven]=maven [psql]=postgresql-client [redis]=redis-server
    [openssl_command]=openssl [chromium]="chromium fonts-dejavu-core" [debootstrap]=debootstrap [strip]=binutils
)
MEANING+=(
    [java]="Java 17 or newer does not run" [maven]="Maven does not run" [psql]="psql does not run"
    [redis]="redis-server does not run" [openssl_command]="the openssl command cannot make a key"
    [chromium]="Chromium does not run" [debootstrap]="debootstrap is not installed" [strip]="strip does not run"
)
probe_java() {
    local major
    major=$(java -XshowSettings:properties -version 2>&1 | sed -n 's/.*java.specification.version = //p')
    [ "${major%%.*}" -ge 17 ] || { echo "java is version $major" && return 1; }
}
probe_maven() { mvn --version; }
probe_psql() { psql --version; }
probe_redis() { redis-server --version; }
probe_openssl_command() { openssl genpkey -algorithm ED25519 -out key.pem; }
probe_chromium() { chromium --version; }
probe_debootstrap() { command -v debootstrap; }
probe_strip() { cp c stripped && strip stripped; }

# Whether something can have changed since the last look: the probes, the place, what package managers have done.
look_key() {
    local place
    cat scripts/look.sh
    echo "$1 $PATH ${CC:-} ${CXX:-} ${OPENSSL_DIR:-} ${PROTOC:-} ${PROTOC_INCLUDE:-}"
    for place in /var/lib/dpkg/status /var/lib/rpm /usr/lib/sysimage/rpm /var/lib/pacman/local /lib/apk/db/installed \
        /nix/var/nix/profiles /opt/homebrew/Cellar /usr/local/Cellar; do
        [ ! -e "$place" ] || ls -ld "$place"
    done
}

# The names of the probes that fail; what they said is in $LOOK/NAME.log.
failing() {
    local name
    for name in "$@"; do
        (cd "$LOOK" && "probe_$name") >"$LOOK/$name.log" 2>&1 </dev/null || echo "$name"
    done
}

packages_of() {
    local name
    # shellcheck disable=SC2086 # Several words.
    for name in "$@"; do printf '%s\n' ${PACKAGES[$name]}; done | sort -u
}

# Where there is no apt: the same things by their names elsewhere.
names_elsewhere() {
    cat >&2 <<'NAMES'
setup: there is no apt-get here; what the build needs is, by its packages' names,
  Fedora    gcc gcc-c++ make cmake pkgconf-pkg-config openssl-devel protobuf-compiler protobuf-devel perl curl git python3
  Arch      base-devel cmake pkgconf openssl protobuf perl curl git python
  Homebrew  cmake pkgconf openssl@3 protobuf perl curl git python (and xcode-select --install)
  Nix       gcc gnumake cmake pkg-config openssl protobuf perl curl git python3
  anywhere  a C and C++ compiler, make, CMake, pkg-config, OpenSSL with headers, protoc with google/protobuf/*.proto,
            perl, curl, git, Python 3.11 or newer with venv
NAMES
}

# look build|test: installs what the probes miss, looks again, and ends with one sentence where that did not help.
look() {
    local mode=$1 stamp="$TOOLS/.looked-$1" key probes missing packages name
    key=$(look_key "$mode" | cksum)
    [ "$(cat "$stamp" 2>/dev/null)" != "$key" ] || return 0
    probes=("${BUILD_PROBES[@]}")
    [ "$mode" = build ] || probes+=("${TEST_PROBES[@]}")
    LOOK=$(mktemp -d)
    # shellcheck disable=SC2064 # The folder of now.
    trap "rm -rf '$LOOK'" EXIT
    missing=$(failing "${probes[@]}")
    if [ -n "$missing" ] && have apt-get; then
        # shellcheck disable=SC2046,SC2086 # Several words.
        apt_install $(packages_of $missing)
        # shellcheck disable=SC2086
        missing=$(failing $missing)
    fi
    for name in $missing; do
        have apt-get || names_elsewhere
        say "${MEANING[$name]} ($(tail -n 1 "$LOOK/$name.log")): install ${PACKAGES[$name]}$(have apt-get || echo ' or its like'), or set PATH so that the right one is found"
        exit 78
    done
    rm -rf "$LOOK"
    trap - EXIT
    look_key "$mode" | cksum >"$stamp"
}
