# shellcheck shell=bash
# Takes a lab down, whole or half started, and removes every trace of it from the machine.

clean() {
  local name pid path
  # The kubelet first, or it would start again what is stopped next.
  for name in kubelet kube-proxy kube-scheduler kube-controller-manager; do
    stop_daemon "$name" 5
  done
  kill_pods
  stop_shims
  for name in containerd forward kube-apiserver etcd; do
    stop_daemon "$name" 10
  done
  unmount_all
  remove_network
  remove_cgroups
  for path in /var/lib/cni/results/*; do
    if grep -qsF "$sock/" "$path"; then rm -f "$path"; fi
  done
  for path in /var/log/containers/*; do
    [[ $(readlink "$path" 2>/dev/null) != "$run"/* ]] || rm -f "$path"
  done
  rmdir /var/log/containers /var/lib/cni/results /var/lib/cni 2>/dev/null || true
  rm -f /var/lib/kubelet/device-plugins/kubelet.sock
  rmdir -p /var/lib/kubelet/device-plugins 2>/dev/null || true
  rmdir -p /run/containerd/s 2>/dev/null || true
  rm -rf "$sock" "$run/pid" "$run/key"
}

stop_daemon() {
  local pid
  if pid=$(pid_of "$1"); then stop_pid "$pid" "$2"; fi
  rm -f "$run/pid/$1"
}

pod_cgroups() { find /sys/fs/cgroup -maxdepth 2 -type d -name kubepods 2>/dev/null || true; }

pod_pids() {
  local cgroup
  for cgroup in $(pod_cgroups); do
    find "$cgroup" -name cgroup.procs -exec cat {} + 2>/dev/null || true
  done | sort -un
}

no_pods() { [[ -z $(pod_pids) ]]; }

# Only where this lab made the pods: another kubelet's are never touched.
ours() { [[ -e $lab_dir/sysctl.before ]]; }

kill_pods() {
  ours || return 0
  local pid end=$((SECONDS + 20))
  until no_pods; do
    for pid in $(pod_pids); do kill -9 "$pid" 2>/dev/null || true; done
    ((SECONDS < end)) || die "pods that do not die: $(pod_pids | tr '\n' ' ')"
    pause
  done
}

# A shim is ours if it was started for our containerd's socket.
stop_shims() {
  local file pid command shim_sockets=()
  # Where a shim was killed its socket stays.
  for file in "$sock"/containerd/io.containerd.runtime.v2.task/k8s.io/*/address; do
    command=$(cat "$file" 2>/dev/null) || continue
    shim_sockets+=("${command#unix://}")
  done
  for file in /proc/[0-9]*/cmdline; do
    pid=${file//[^0-9]/}
    command=$( (tr '\0' ' ' <"$file") 2>/dev/null) || continue
    if [[ $command == *containerd-shim-runc-v2\ *"-address $sock/containerd.sock"* ]]; then
      kill -9 "$pid" 2>/dev/null || true
      until_true 10 "shim $pid to die" gone "$pid"
    fi
  done
  for file in "${shim_sockets[@]}"; do
    [[ $file != /run/containerd/s/* ]] || rm -f "$file"
  done
}

our_mounts() { awk -v a="$run/" -v b="$sock/" 'index($5, a) == 1 || index($5, b) == 1 {print $5}' /proc/self/mountinfo | sort -r; }

unmount_all() {
  local path
  our_mounts | while read -r path; do
    umount -l "$path" 2>/dev/null || true
  done
  [[ -z $(our_mounts) ]] || die "mounts that stay: $(our_mounts | tr '\n' ' ')"
}

remove_network() {
  local link
  # The host's end of each pod's link carries the pods' gateway address.
  for link in $(ip -o -4 addr show to "$pod_gateway/32" 2>/dev/null | awk '{print $2}'); do
    ip link del "$link" 2>/dev/null || true
  done
  ip link del "$bridge" 2>/dev/null || true
  ours || return 0
  nft delete table ip kube-proxy 2>/dev/null || true
  nft delete table ip6 kube-proxy 2>/dev/null || true
  conntrack -D -s "$pod_cidr" >/dev/null 2>&1 || true
  sysctl -qp "$lab_dir/sysctl.before" || true
}

remove_cgroups() {
  ours || return 0
  local cgroup
  for cgroup in $(pod_cgroups); do
    find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
  [[ -z $(pod_cgroups) ]] || die "cgroups that stay: $(pod_cgroups | tr '\n' ' ')"
  rm -f "$lab_dir/sysctl.before"
}
