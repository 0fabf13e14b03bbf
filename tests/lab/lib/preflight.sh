# shellcheck shell=bash
# Says what a machine lacks before anything is built or started.

packages=(
  containerd runc etcd-server iproute2 nftables containernetworking-plugins
  conntrack openssl jq util-linux procps curl
)
tools=(containerd runc etcd ip nft conntrack openssl jq flock setsid sysctl unshare mount curl)

missing_packages() {
  local tool
  for tool in "${tools[@]}"; do
    command -v "$tool" >/dev/null || return 0
  done
  [[ ! -x $(cni_dir)/ptp ]]
}

cni_dir() {
  local dir
  for dir in /usr/lib/cni /opt/cni/bin; do
    [[ -x $dir/ptp ]] && break
  done
  printf '%s\n' "$dir"
}

install_packages() {
  missing_packages || return 0
  say "installing Debian packages: ${packages[*]}"
  {
    apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}"
  } >"$lab_dir/apt.log" 2>&1 || die "apt-get failed, see $lab_dir/apt.log"
}

# Collects every lack, so that one run names them all.
preflight() {
  local lacks=() version
  [[ $(uname -s) == Linux ]] || die "this lab needs Linux; $(uname -s) can't carry it"
  ((EUID == 0)) || lacks+=("root: it makes network namespaces, mounts and cgroups")
  case $(uname -m) in x86_64 | aarch64) ;; *) lacks+=("an x86_64 or aarch64 processor, not $(uname -m)") ;; esac
  if command -v go >/dev/null; then
    version=$(go env GOVERSION)
    [[ $(printf '%s\n' go1.26.0 "$version" | sort -V | head -1) == go1.26.0 ]] || lacks+=("Go 1.26 or newer, not $version")
  else
    lacks+=("Go 1.26 or newer")
  fi
  if missing_packages && ! command -v apt-get >/dev/null; then
    lacks+=("these Debian packages, or apt-get to install them: ${packages[*]}")
  fi
  cgroups_present || lacks+=("cgroups with cpu, cpuset, memory and pids, mounted writable at /sys/fs/cgroup")
  unshare -n true 2>/dev/null || lacks+=("the right to make network namespaces (CAP_SYS_ADMIN)")
  unshare -m true 2>/dev/null || lacks+=("the right to mount (CAP_SYS_ADMIN)")
  (($(awk '/MemAvailable/ {print $2}' /proc/meminfo) > 3500000)) || lacks+=("4 GB of free memory")
  if [[ ! -x $bin/daprd ]]; then
    (($(free_disk "$lab_dir") > 10000000)) || lacks+=("10 GB of free disk at $lab_dir to build")
  fi
  ((${#lab_dir} <= 70)) || lacks+=("a state directory of at most 70 characters (sockets are in it): $lab_dir")
  report_lacks "${lacks[@]}"
}

# What can be seen only once the packages are there and an old lab is gone.
preflight_network() {
  local lacks=() port
  modprobe -qa overlay veth bridge nf_tables 2>/dev/null || true
  unshare -n ip link add b0 type bridge 2>/dev/null || lacks+=("bridge devices in the kernel")
  unshare -n ip link add v0 type veth peer name v1 2>/dev/null || lacks+=("veth devices in the kernel")
  unshare -n nft add table ip mtls_lab 2>/dev/null || lacks+=("nf_tables in the kernel")
  for port in "${ports[@]}"; do
    ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || lacks+=("port $port on 127.0.0.1, which something else uses")
  done
  [[ -z $(find /sys/fs/cgroup -maxdepth 2 -name kubepods -print -quit) ]] ||
    lacks+=("a machine without another kubelet (there is a cgroup kubepods)")
  report_lacks "${lacks[@]}"
}

# In KiB, of a directory that may not exist yet.
free_disk() {
  local dir=$1
  until [[ -d $dir ]]; do dir=$(dirname "$dir"); done
  df --output=avail -k "$dir" | tail -1
}

report_lacks() {
  (($# == 0)) || die "this machine can't carry the lab. It lacks:" "${@/#/  - }"
}

cgroups_present() {
  local controller
  if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
    for controller in cpu cpuset memory pids; do
      grep -qw "$controller" /sys/fs/cgroup/cgroup.controllers || return 1
    done
    [[ -w /sys/fs/cgroup/cgroup.subtree_control ]]
  else
    for controller in cpu cpuset memory pids; do
      [[ -w /sys/fs/cgroup/$controller/cgroup.procs ]] || return 1
    done
  fi
}
