#!/usr/bin/env bash
# Builds the programs of a one-node Kubernetes, and helm and what checks manifests, from their Go modules into
# $INVOICE_TOOLS/kubernetes-VERSION/bin: about ten minutes, once. What is there is not built again.
#
#   scripts/kubernetes/build.sh          all of it
#   scripts/kubernetes/build.sh charts   helm, kubeconform and its schemas alone
set -euo pipefail
cd "$(dirname "$0")"
source ../env.sh

# 1.37 announces the end of cgroup v1: with a newer one look at conf/kubelet.yaml first.
KUBERNETES_VERSION=1.37.2
export GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-}"
BIN="$TOOLS/kubernetes-$KUBERNETES_VERSION/bin"
mkdir -p "$BIN"

# PROGRAM PACKAGE MODULE@VERSION: as a dependency, because `go install` refuses modules with replace directives.
program() {
    local name="$1" package="$2" module="$3" scratch
    [ ! -x "$BIN/$name" ] || return 0
    echo "kubernetes: building $name" >&2
    scratch=$(mktemp -d)
    (
        cd "$scratch"
        go mod init scratch
        go get "$package@${module##*@}"
        go build -trimpath -ldflags "-s -w" -o "$BIN/$name.part" "$package"
    ) >&2
    mv "$BIN/$name.part" "$BIN/$name"
    rm -rf "$scratch"
}

# The parts of Kubernetes itself, in the module that names its staging repositories.
kubernetes() {
    local name version=k8s.io/component-base/version
    for name in "$@"; do
        [ ! -x "$BIN/$name" ] || continue
        echo "kubernetes: building $name" >&2
        go build -mod=mod -trimpath -o "$BIN/$name.part" \
            -ldflags "-s -w -X $version.gitVersion=v$KUBERNETES_VERSION -X $version.gitMajor=1 -X $version.gitMinor=37" \
            "k8s.io/kubernetes/cmd/$name" >&2
        mv "$BIN/$name.part" "$BIN/$name"
    done
}

# What kubeconform checks manifests against, from the OpenAPI file of the same version.
schemas() {
    local folder="$BIN/../schemas"
    [ ! -d "$folder" ] || return 0
    go mod download k8s.io/kubernetes
    python3 schemas.py "$(go list -mod=mod -m -f '{{.Dir}}' k8s.io/kubernetes)/api/openapi-spec/swagger.json" "$folder.part"
    mv "$folder.part" "$folder"
}

program helm helm.sh/helm/v3/cmd/helm helm.sh/helm/v3@v3.22.0
program kubeconform github.com/yannh/kubeconform/cmd/kubeconform github.com/yannh/kubeconform@v0.8.0
schemas
if [ "${1:-}" != charts ]; then
    program etcd go.etcd.io/etcd/server/v3 go.etcd.io/etcd/server/v3@v3.7.3
    kubernetes kube-apiserver kube-controller-manager kube-scheduler kubelet kubectl kube-proxy
    program kube-router github.com/cloudnativelabs/kube-router/v2/cmd/kube-router github.com/cloudnativelabs/kube-router/v2@v2.1.0
fi
