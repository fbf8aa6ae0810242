#!/usr/bin/env bash
# A Kubernetes of one node with real pods, from the programs of build.sh, in namespaces of its own; it runs until
# this script is ended, and leaves nothing. Needs root, containerd and runc.
#
#   scripts/kubernetes/node.sh FOLDER
#
# FOLDER/ready appears when the node is; FOLDER/admin.kubeconfig is for kubectl and helm on this machine, whose
# address for pods is 10.98.0.1. FOLDER/enter COMMAND runs something beside the node's programs, for instance
# `ctr -a FOLDER/containerd/socket -n k8s.io images import image.tar`. NetworkPolicies are enforced.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../env.sh"
VERSION=$(sed -n 's/^KUBERNETES_VERSION=//p' "$here/build.sh")
BIN="$TOOLS/kubernetes-$VERSION/bin"
K=$(mkdir -p "$1" && cd "$1" && pwd)
HOST=10.98.0.1 NODE=10.98.0.2 PODS=10.244.0.0/24 SERVICES=10.96.0.0/16
mkdir -p "$K"/{log,pki,cni,image/bin}

# Kubelets share the machine's cgroups and sysctls: one node at a time.
exec 9>"$TOOLS/kubernetes.lock"
flock 9
SYSCTLS=(vm.overcommit_memory kernel.panic kernel.panic_on_oops)
mapfile -t before < <(sysctl -n "${SYSCTLS[@]}")

down() {
    trap - EXIT
    [ ! -s "$K/holder" ] || kill -KILL "$(cat "$K/holder")" 2>/dev/null || true
    local i
    for i in "${!SYSCTLS[@]}"; do sysctl -qw "${SYSCTLS[$i]}=${before[$i]}" || true; done
    # Processes of the namespace take a moment to be gone.
    for i in $(seq 50); do
        find /sys/fs/cgroup -depth -type d -path '*/kubepods*' -exec rmdir {} + 2>/dev/null || true
        [ -n "$(find /sys/fs/cgroup -maxdepth 2 -type d -name kubepods)" ] || break
        sleep 0.1
    done
}
trap down EXIT
trap 'exit 0' TERM INT

# The holder is the first process of the namespaces: when it ends, all do. Folders where containerd leaves files
# are empty ones of the namespace.
namespaces() {
    unshare --net --mount --pid --fork --kill-child --mount-proc --propagation private bash -c '
        mount --make-rshared /
        for folder in /run/containerd /run/netns /var/lib/cni /var/lib/kubelet; do
            mkdir -p $folder && mount -t tmpfs none $folder
        done
        ip link set lo up
        echo 1 >/proc/sys/net/ipv4/ip_forward
        touch "$0/log/holder.ready"
        exec sleep infinity' "$K" >"$K/log/holder.log" 2>&1 9>&- &
    local unshare=$! holder
    until [ -e "$K/log/holder.ready" ]; do
        kill -0 "$unshare" || { cat "$K/log/holder.log" >&2 && exit 75; }
        sleep 0.05
    done
    holder=$(pgrep -P "$unshare")
    echo "$holder" >"$K/holder"
    printf '#!/bin/sh\nexec nsenter --target %s --net --mount --pid -- "$@"\n' "$holder" >"$K/enter"
    chmod +x "$K/enter"
    ip link add invoice-k8s type veth peer name uplink netns "$holder"
    ip addr add $HOST/30 dev invoice-k8s
    ip link set invoice-k8s up
    "$K/enter" ip addr add $NODE/30 dev uplink
    "$K/enter" ip link set uplink up
    # Nothing else is reached, but programs look for a default route.
    "$K/enter" ip route add default dev lo
    "$K/enter" nft "table ip uplink {
        chain out { type nat hook postrouting priority 100; oifname \"uplink\" ip saddr $PODS masquerade; }
    }"
}

certificate() { # NAME SUBJECT [ALTERNATIVE NAMES]
    local extensions='basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n'
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.csr" -subj "$2"
    printf "$extensions${3:+subjectAltName=$3\n}" >"$1.ext"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out "$1.crt" -extfile "$1.ext"
}

kubeconfig() { # NAME of the certificate and of the file
    local config=("$BIN/kubectl" config "--kubeconfig=$1.kubeconfig")
    "${config[@]}" set-cluster node --server=https://$NODE:6443 --certificate-authority=ca.crt --embed-certs
    "${config[@]}" set-credentials user "--client-certificate=$1.crt" "--client-key=$1.key" --embed-certs
    "${config[@]}" set-context node --cluster=node --user=user
    "${config[@]}" use-context node
}

certificates() {
    cd "$K/pki"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=node
    certificate apiserver /CN=kube-apiserver "DNS:localhost,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:$NODE,IP:10.96.0.1"
    certificate admin /O=system:masters/CN=admin
    certificate controllers /CN=system:kube-controller-manager
    certificate scheduler /CN=system:kube-scheduler
    certificate kubelet /O=system:nodes/CN=system:node:node "DNS:node,IP:$NODE"
    openssl genrsa -out sa.key 2048
    openssl rsa -in sa.key -pubout -out sa.pub
    local name
    for name in admin controllers scheduler kubelet; do kubeconfig $name; done
    cp admin.kubeconfig ..
    cd "$K"
}

# Without isDefaultGateway pods have no way to services' addresses.
configuration() {
    cat >"$K/cni/10-node.conflist" <<E
{"cniVersion": "0.4.0", "name": "node", "plugins": [
 {"type": "bridge", "bridge": "pods", "isGateway": true, "isDefaultGateway": true, "ipMasq": false, "hairpinMode": true,
  "ipam": {"type": "host-local", "dataDir": "$K/ipam", "ranges": [[{"subnet": "$PODS"}]]}},
 {"type": "portmap", "capabilities": {"portMappings": true}}]}
E
    cat >"$K/containerd.toml" <<E
version = 2
root = "$K/containerd/root"
state = "$K/containerd/state"
[grpc]
  address = "$K/containerd/socket"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "node.local/pause:1"
  stream_server_address = "127.0.0.1"
  disable_apparmor = true
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "$K/cni"
E
    cat >"$K/kubelet.yaml" <<E
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $NODE
healthzBindAddress: 127.0.0.1
readOnlyPort: 0
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $K/pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $K/pki/kubelet.crt
tlsPrivateKeyFile: $K/pki/kubelet.key
containerRuntimeEndpoint: unix://$K/containerd/socket
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
clusterDNS: [10.96.0.10]
resolvConf: ""
podLogsDir: $K/pods
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 99
imageGCLowThresholdPercent: 98
staticPodPath: ""
E
    cat >"$K/proxy.yaml" <<E
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
bindAddress: 0.0.0.0
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
clientConnection: {kubeconfig: $K/pki/admin.kubeconfig}
mode: nftables
clusterCIDR: $PODS
hostnameOverride: node
conntrack: {maxPerCore: 0, min: 0}
E
}

start() { # NAME COMMAND…, beside the others, with a log
    local name="$1"
    shift
    "$K/enter" "$@" >"$K/log/$name.log" 2>&1 9>&- &
}

until_it_answers() { # SECONDS COMMAND…
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || { echo "node: no answer from: $*; see $K/log" >&2 && exit 75; }
        sleep 0.2
    done
}

kubectl() { "$BIN/kubectl" "--kubeconfig=$K/pki/admin.kubeconfig" "$@"; }

control_plane() {
    local etcd=http://127.0.0.1:2379
    start etcd "$BIN/etcd" --data-dir "$K/etcd" --listen-client-urls $etcd --advertise-client-urls $etcd \
        --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
        --initial-cluster default=http://127.0.0.1:2380 --unsafe-no-fsync
    start apiserver "$BIN/kube-apiserver" --etcd-servers=$etcd --bind-address=0.0.0.0 --advertise-address=$NODE \
        --service-cluster-ip-range=$SERVICES --tls-cert-file="$K/pki/apiserver.crt" \
        --tls-private-key-file="$K/pki/apiserver.key" --client-ca-file="$K/pki/ca.crt" --authorization-mode=Node,RBAC \
        --enable-admission-plugins=NodeRestriction --service-account-issuer=https://kubernetes.default.svc \
        --service-account-key-file="$K/pki/sa.pub" --service-account-signing-key-file="$K/pki/sa.key" \
        --kubelet-client-certificate="$K/pki/admin.crt" --kubelet-client-key="$K/pki/admin.key" \
        --kubelet-certificate-authority="$K/pki/ca.crt" --kubelet-preferred-address-types=InternalIP \
        --allow-privileged=true --cert-dir="$K/pki/own"
    until_it_answers 120 kubectl get --raw /readyz
    start controllers "$BIN/kube-controller-manager" --kubeconfig="$K/pki/controllers.kubeconfig" \
        --service-account-private-key-file="$K/pki/sa.key" --root-ca-file="$K/pki/ca.crt" \
        --use-service-account-credentials --leader-elect=false --bind-address=127.0.0.1 \
        --horizontal-pod-autoscaler-sync-period=3s
    start scheduler "$BIN/kube-scheduler" --kubeconfig="$K/pki/scheduler.kubeconfig" --leader-elect=false \
        --bind-address=127.0.0.1
}

# A pod's first container, and a shell for whoever wants to look around.
node_images() {
    local image applet
    cp "$(command -v busybox)" "$K/image/bin/"
    for applet in $(busybox --list | grep -vx busybox); do ln -sf busybox "$K/image/bin/$applet"; done
    python3 "$here/image.py" node.local/pause:1 "$K/image" "$K/pause.tar" /bin/sleep 2147483647
    python3 "$here/image.py" node.local/busybox:1 "$K/image" "$K/busybox.tar" /bin/sh
    for image in pause busybox; do
        "$K/enter" ctr -a "$K/containerd/socket" -n k8s.io images import "$K/$image.tar" >/dev/null
    done
}

node() {
    start containerd containerd --config "$K/containerd.toml"
    until_it_answers 60 "$K/enter" ctr -a "$K/containerd/socket" version
    node_images
    start kubelet "$BIN/kubelet" --config="$K/kubelet.yaml" --kubeconfig="$K/pki/kubelet.kubeconfig" \
        --root-dir="$K/kubelet" --cert-dir="$K/kubelet/pki" --hostname-override=node --node-ip=$NODE
    start proxy "$BIN/kube-proxy" --config="$K/proxy.yaml"
    # It ends where it does not find its node.
    until_it_answers 60 kubectl get node node
    # NetworkPolicies alone: the bridge does not enforce them.
    start network-policies env NODE_NAME=node "$BIN/kube-router" --kubeconfig="$K/pki/admin.kubeconfig" \
        --run-router=false --run-service-proxy=false --run-firewall=true --hostname-override=node \
        --service-cluster-ip-range=$SERVICES --health-port=20244 --metrics-port=0 --iptables-sync-period=5s
    until_it_answers 120 kubectl wait --for=condition=Ready node/node --timeout=1s
    until_it_answers 60 kubectl -n default get serviceaccount default
}

namespaces
certificates >"$K/log/certificates.log" 2>&1
configuration
control_plane
node
touch "$K/ready"
echo "node: ready; export KUBECONFIG=$K/admin.kubeconfig" >&2
sleep infinity 9>&- &
wait $!
