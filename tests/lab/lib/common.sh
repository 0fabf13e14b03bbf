# shellcheck shell=bash disable=SC2034
# Names, places and helpers that up, down and reset share.

lab_src=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
lab_dir=${MTLS_LAB_DIR:-${XDG_CACHE_HOME:-${HOME:?is not set, and neither are MTLS_LAB_DIR and XDG_CACHE_HOME}/.cache}/mtls-lab}
bin=$lab_dir/bin
images=$lab_dir/images
run=$lab_dir/run
# Sockets and mounts: short paths, gone after a reboot.
sock=/run/mtls-lab

kubernetes_version=v1.34.4
dapr_version=1.14.0
node=mtls-lab
bridge=mtls-lab0
node_ip=10.83.0.1
pod_cidr=10.83.1.0/24
pod_gateway=10.83.1.1
service_cidr=10.83.2.0/24
kubernetes_ip=10.83.2.1
dns_ip=10.83.2.10
api_port=${MTLS_LAB_PORT:-26443}
etcd_port=22379
ports=("$api_port" "$etcd_port" 22380 10248 10249 10256)
# In the order in which they are started; stopped the other way round.
daemons=(etcd kube-apiserver forward kube-controller-manager kube-scheduler containerd kubelet kube-proxy)

say() { printf 'lab: %s\n' "$*" >&2; }

die() {
  printf 'lab: %s\n' "$@" >&2
  exit 1
}

# A pipe that never has data: reading from it with a time limit is a short wait.
exec {tick}<> <(:)

pause() { read -rt "${1:-0.1}" -u "$tick" || true; }

# until_true SECONDS WHAT COMMAND...: polls until the command succeeds; dies with WHAT after SECONDS.
until_true() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS >= end)); then
      die "gave up waiting: $what" "  last try: $*" "  logs: $run/log"
    fi
    pause
  done
}

# One up, down or reset at a time. Daemons must not inherit the lock: see start.
lock_lab() {
  mkdir -p "$lab_dir"
  exec {lock}>"$lab_dir/lock"
  flock -w 3600 "$lock" || die "another lab command holds $lab_dir/lock for an hour"
}

start_time() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

# start NAME COMMAND...: a daemon in a session of its own; its pid file also holds its start time,
# so that a pid that was used again after a reboot is never taken for it.
start() {
  local name=$1
  shift
  setsid "$@" </dev/null >>"$run/log/$name.log" 2>&1 {tick}>&- {lock}>&- &
  local pid=$!
  printf '%s %s\n' "$pid" "$(start_time "$pid")" >"$run/pid/$name"
}

# Prints the pid of a daemon of ours that is alive.
pid_of() {
  local pid started
  read -r pid started 2>/dev/null <"$run/pid/$1" || return 1
  [[ -n $started && $(start_time "$pid") == "$started" ]] || return 1
  printf '%s\n' "$pid"
}

gone() { [[ ! -d /proc/$1 || $(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -c1) == Z ]]; }

# stop_pid PID SECONDS: asks, then kills.
stop_pid() {
  local end=$((SECONDS + $2))
  kill "$1" 2>/dev/null || return 0
  until gone "$1"; do
    if ((SECONDS >= end)); then
      kill -9 "$1" 2>/dev/null || return 0
      until_true 10 "process $1 to die" gone "$1"
      return 0
    fi
    pause
  done
}

kubectl() { "$bin/kubectl" --cache-dir "$run/kubectl-cache" --kubeconfig "$run/admin.kubeconfig" "$@"; }
