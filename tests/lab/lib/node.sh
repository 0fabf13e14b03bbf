# shellcheck shell=bash
# Starts a Kubernetes cluster of one node: its certificates and users, the control plane, the node's daemons.

make_dirs() {
  rm -rf "$run" "$sock"
  mkdir -p "$run"/{pid,log,pki,etcd,containerd,kubelet,pod-logs,cni,conf} "$sock"
  chmod 700 "$run/pki"
}

# certificate NAME SUBJECT EKU SANS
certificate() {
  local dir=$run/pki
  openssl ecparam -name prime256v1 -genkey -noout -out "$dir/$1.key"
  openssl req -new -key "$dir/$1.key" -subj "$2" -out "$dir/$1.csr"
  openssl x509 -req -in "$dir/$1.csr" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -CAcreateserial -days 365 \
    -extfile <(printf 'extendedKeyUsage=%s\n%s' "$3" "${4:+subjectAltName=$4}") -out "$dir/$1.crt" 2>/dev/null
}

make_certificates() {
  local dir=$run/pki
  openssl ecparam -name prime256v1 -genkey -noout -out "$dir/ca.key"
  openssl req -x509 -new -key "$dir/ca.key" -subj /CN=mtls-lab -days 365 -out "$dir/ca.crt" \
    -addext keyUsage=critical,keyCertSign,cRLSign
  certificate apiserver /CN=kube-apiserver serverAuth \
    "IP:127.0.0.1,IP:$node_ip,IP:$kubernetes_ip,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
  certificate kubelet "/CN=$node" serverAuth "IP:$node_ip,DNS:$node"
  certificate kubelet-client /O=system:masters/CN=kube-apiserver clientAuth ""
  openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$dir/accounts.key" 2>/dev/null
  openssl pkey -in "$dir/accounts.key" -pubout -out "$dir/accounts.pub"
}

# kubeconfig FILE CONTEXT TOKEN
kubeconfig() {
  (
    umask 077
    cat >"$1" <<EOF
apiVersion: v1
kind: Config
clusters:
- name: mtls-lab
  cluster:
    server: https://127.0.0.1:$api_port
    certificate-authority-data: $(base64 -w0 "$run/pki/ca.crt")
users:
- name: $2
  user:
    token: $3
contexts:
- name: $2
  context:
    cluster: mtls-lab
    user: $2
current-context: $2
EOF
  )
}

# Every user has a token, since a client certificate would not pass the lab's proxy.
make_users() {
  local file context user groups token
  : >"$run/pki/tokens.csv"
  chmod 600 "$run/pki/tokens.csv"
  while read -r file context user groups; do
    token=$(openssl rand -hex 20)
    printf '%s,%s,%s,"%s"\n' "$token" "$user" "$user" "$groups" >>"$run/pki/tokens.csv"
    kubeconfig "$run/$file.kubeconfig" "$context" "$token"
  done <<EOF
admin mtls-lab mtls-admin system:masters
cluster-admin mtls-lab-cluster-admin mtls-cluster-admin
pki/kube-controller-manager mtls-lab system:kube-controller-manager
pki/kube-scheduler mtls-lab system:kube-scheduler
pki/kube-proxy mtls-lab system:kube-proxy
pki/kubelet mtls-lab system:node:$node system:nodes
EOF
}

# The kubelet sets some kernel parameters too: all are put back when the lab goes down.
make_network() {
  local key
  for key in net.ipv4.ip_forward net.ipv4.conf.all.rp_filter vm.overcommit_memory vm.panic_on_oom \
    kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes; do
    printf '%s=%s\n' "$key" "$(sysctl -n "$key")"
  done >"$lab_dir/sysctl.before"
  sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0
  ip link add "$bridge" type bridge
  ip addr add "$node_ip/32" dev "$bridge"
  ip link set "$bridge" up
}

start_control_plane() {
  local pki=$run/pki
  start etcd etcd --name lab --data-dir "$run/etcd" --log-level warn \
    --listen-client-urls "http://127.0.0.1:$etcd_port" --advertise-client-urls "http://127.0.0.1:$etcd_port" \
    --listen-peer-urls http://127.0.0.1:22380 --initial-advertise-peer-urls http://127.0.0.1:22380 \
    --initial-cluster lab=http://127.0.0.1:22380
  start kube-apiserver "$bin/kube-apiserver" --etcd-servers "http://127.0.0.1:$etcd_port" \
    --bind-address 127.0.0.1 --secure-port "$api_port" --advertise-address "$node_ip" \
    --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" \
    --client-ca-file "$pki/ca.crt" --token-auth-file "$pki/tokens.csv" --authorization-mode Node,RBAC \
    --enable-admission-plugins NodeRestriction --service-cluster-ip-range "$service_cidr" \
    --service-account-issuer https://kubernetes.default.svc.cluster.local \
    --service-account-key-file "$pki/accounts.pub" --service-account-signing-key-file "$pki/accounts.key" \
    --kubelet-client-certificate "$pki/kubelet-client.crt" --kubelet-client-key "$pki/kubelet-client.key" \
    --kubelet-certificate-authority "$pki/ca.crt" --kubelet-preferred-address-types InternalIP \
    --audit-policy-file "$lab_src/manifests/audit-policy.yaml" \
    --audit-log-path "$run/audit.log" --audit-log-maxsize 2000
  start forward "$bin/forward" -listen "$node_ip:$api_port" -to "127.0.0.1:$api_port"
  until_true 90 "the API server to be ready" kubectl get --raw /readyz
  # A namespace takes 80 requests to delete. At the default pace tests would wait 44 s for 200 to go.
  start kube-controller-manager "$bin/kube-controller-manager" --kubeconfig "$pki/kube-controller-manager.kubeconfig" \
    --secure-port 0 --leader-elect=false --use-service-account-credentials \
    --service-account-private-key-file "$pki/accounts.key" --root-ca-file "$pki/ca.crt" \
    --allocate-node-cidrs=false --kube-api-qps 60 --kube-api-burst 90
  start kube-scheduler "$bin/kube-scheduler" --kubeconfig "$pki/kube-scheduler.kubeconfig" \
    --secure-port 0 --leader-elect=false
}

start_containerd() {
  local snapshotter=overlayfs
  can_overlay || snapshotter=native
  sed -e "s#@RUN@#$run#g; s#@SOCK@#$sock#g; s#@SNAPSHOTTER@#$snapshotter#g; s#@CNI@#$(cni_dir)#g" \
    "$lab_src/manifests/containerd.toml" >"$run/conf/containerd.toml"
  sed -e "s#@RUN@#$run#g; s#@POD_CIDR@#$pod_cidr#g" "$lab_src/manifests/cni.conflist" >"$run/cni/10-lab.conflist"
  start containerd containerd --config "$run/conf/containerd.toml"
  until_true 30 "containerd to answer" ctr -a "$sock/containerd.sock" version
  ctr -a "$sock/containerd.sock" -n k8s.io images import --snapshotter "$snapshotter" "$images/all.tar" >>"$run/log/images.log" 2>&1 ||
    die "the images can't be imported, see $run/log/images.log"
}

can_overlay() {
  local dir=$run/containerd/try
  mkdir -p "$dir"/{lower,upper,work,merged}
  unshare -m mount -t overlay overlay -o "lowerdir=$dir/lower,upperdir=$dir/upper,workdir=$dir/work" "$dir/merged" 2>/dev/null
}

start_node() {
  local pki=$run/pki
  sed -e "s#@RUN@#$run#g; s#@SOCK@#$sock#g; s#@PKI@#$pki#g; s#@NODE_IP@#$node_ip#g; s#@DNS_IP@#$dns_ip#g" \
    "$lab_src/manifests/kubelet.yaml" >"$run/conf/kubelet.yaml"
  start kubelet "$bin/kubelet" --config "$run/conf/kubelet.yaml" --kubeconfig "$pki/kubelet.kubeconfig" \
    --hostname-override "$node" --node-ip "$node_ip" --root-dir "$run/kubelet" --cert-dir "$run/kubelet/pki"
  sed -e "s#@PKI@#$pki#g; s#@POD_CIDR@#$pod_cidr#g; s#@NODE@#$node#g" \
    "$lab_src/manifests/kube-proxy.yaml" >"$run/conf/kube-proxy.yaml"
  start kube-proxy "$bin/kube-proxy" --config "$run/conf/kube-proxy.yaml"
}

start_dns() {
  sed "s#@DNS_IP@#$dns_ip#g" "$lab_src/manifests/coredns.yaml" | kubectl apply -f - >/dev/null
}
