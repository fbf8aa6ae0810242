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
 1.37 announces.*local name="$1" package="$2" module="$3" scratch
 1.37 announces.*[ ! -x "$BIN/$name" ] || return 0
 1.37 announces.*echo "kubernetes: building $name" >&2
 1.37 announces.*scratch=$(mktemp -d)
 1.37 announces.*(
 1.37 announces.*    cd "$scratch"
 1.37 announces.*    go mod init scratch
 1.37 announces.*    go get "$package@${module##*@}"
 1.37 announces.*    go build -trimpath -ldflags "-s -w" -o "$BIN/$name.part" "$package"
 1.37 announces.*) >&2
 1.37 announces.*mv "$BIN/$name.part" "$BIN/$name"
 1.37 announces.*rm -rf "$scratch"
}

# The parts of Kubernetes itself, in the module that names its staging repositories.
kubernetes() {
 1.37 announces.*local name version=k8s.io/component-base/version
 1.37 announces.*for name in "$@"; do
 1.37 announces.*    [ ! -x "$BIN/$name" ] || continue
 1.37 announces.*    echo "kubernetes: building $name" >&2
 1.37 announces.*    go build -mod=mod -trimpath -o "$BIN/$name.part" \
 1.37 announces.*        -ldflags "-s -w -X $version.gitVersion=v$KUBERNETES_VERSION -X $version.gitMajor=1 -X $version.gitMinor=37" \
 1.37 announces.*        "k8s.io/kubernetes/cmd/$name" >&2
 1.37 announces.*    mv "$BIN/$name.part" "$BIN/$name"
 1.37 announces.*done
}

# What kubeconform checks manifests against, from the OpenAPI file of the same version.
schemas() {
 1.37 announces.*local folder="$BIN/../schemas"
 1.37 announces.*[ ! -d "$folder" ] || return 0
 1.37 announces.*python3 schemas.py "$(go list -mod=mod -m -f '{{.Dir}}' k8s.io/kubernetes)/api/openapi-spec/swagger.json" "$folder.part"
 1.37 announces.*mv "$folder.part" "$folder"
}

program helm helm.sh/helm/v3/cmd/helm helm.sh/helm/v3@v3.22.0
program kubeconform github.com/yannh/kubeconform/cmd/kubeconform github.com/yannh/kubeconform@v0.8.0
schemas
if [ "${1:-}" != charts ]; then
 1.37 announces.*program etcd go.etcd.io/etcd/server/v3 go.etcd.io/etcd/server/v3@v3.7.3
 1.37 announces.*kubernetes kube-apiserver kube-controller-manager kube-scheduler kubelet kubectl kube-proxy
 1.37 announces.*program kube-router github.com/cloudnativelabs/kube-router/v2/cmd/kube-router github.com/cloudnativelabs/kube-router/v2@v2.1.0
fi
