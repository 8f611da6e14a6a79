#!/bin/bash
# Installs the distribution packages that building, the demo, the tests or the benchmarks need.
#
# usage: hack/deps.sh build|demo|test|bench
#
# Looks for the programs first and says nothing when all are there, so that it costs nothing to run
# it every time and needs neither root nor the network on a host that is set up.
set -euo pipefail

profile=${1:-}
case $profile in
build | demo | test | bench) ;;
*)
  echo "usage: $0 build|demo|test|bench" >&2
  exit 2
  ;;
esac

# program (or one of several names of it), package for apt, package for dnf; by the profile that
# needs it first.
needs() {
  # The linker, and the C compiler that zstd and ring are built with.
  echo "cc gcc gcc"
  echo "make make make"
  # etcd-client builds its messages with it.
  echo "protoc protobuf-compiler protobuf-compiler"
  [[ $1 == build ]] && return
  echo "iptables-restore iptables iptables-nft"
  echo "busybox busybox-static busybox"
  echo "curl curl curl"
  [[ $1 == demo ]] && return
  echo "docker-registry|registry docker-registry docker-distribution"
  echo "runc runc runc"
  echo "crun crun crun"
  echo "podman podman podman"
  echo "skopeo skopeo skopeo"
  echo "nft nftables nftables"
  echo "ip iproute2 iproute"
  echo "strace strace strace"
  echo "etcd etcd-server etcd"
  echo "etcdctl etcd-client etcd"
  echo "git git git-core"
  echo "openssl openssl openssl"
  echo "python3 python3 python3"
  echo "python3:grpc python3-grpcio python3-grpcio"
  [[ $1 == test ]] && return
  echo "conmon conmon conmon"
  echo "netavark netavark netavark"
  echo "catatonit catatonit catatonit"
  echo "hyperfine hyperfine hyperfine"
}

# Administrators' programs are not on every user's PATH.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/lib/podman:/usr/libexec/podman

have() {
  local name
  # A module of the system's Python.
  [[ $1 == python3:* ]] && { /usr/bin/python3 -c "import ${1#*:}" 2>/dev/null; return; }
  for name in ${1//|/ }; do
    command -v "$name" >/dev/null && return
  done
  return 1
}

missing=() apt=() dnf=()
while read -r program apt_name dnf_name; do
  have "$program" && continue
  missing+=("$program") apt+=("$apt_name") dnf+=("$dnf_name")
done < <(needs "$profile")

fail() {
  echo "hack/deps.sh: $*" >&2
  exit 1
}

if ! command -v cargo >/dev/null; then
  fail "no cargo: install Rust 1.95 or newer from https://rustup.rs"
fi
[[ ${#missing[@]} == 0 ]] && exit 0

if command -v apt-get >/dev/null; then
  install=(apt-get install --yes --no-install-recommends "${apt[@]}")
elif command -v dnf >/dev/null; then
  install=(dnf install --assumeyes --setopt=install_weak_deps=False "${dnf[@]}")
elif command -v yum >/dev/null; then
  install=(yum install --assumeyes "${dnf[@]}")
else
  fail "missing: ${missing[*]}; no apt-get, dnf or yum here to install them with"
fi

as_root=()
if [[ $EUID != 0 ]]; then
  command -v sudo >/dev/null || fail "missing: ${missing[*]}; run as root: ${install[*]}"
  as_root=(sudo)
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "hack/deps.sh: installing for '$profile': ${missing[*]}" >&2
run() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "$@" >>"$log" 2>&1
}
if ! run "${install[@]}"; then
  # Package lists that were never fetched, or name versions that are gone.
  [[ ${install[0]} == apt-get ]] && run apt-get update && run "${install[@]}" || {
    tail -n 20 "$log" >&2
    fail "could not install: ${install[*]}"
  }
fi

# A service that a package started on its own is none of ours to leave running.
if [[ " ${apt[*]} " == *" docker-registry "* ]] && [[ -d /run/systemd/system ]]; then
  run systemctl disable --now docker-registry || run systemctl disable --now docker-distribution || true
fi

for program in "${missing[@]}"; do
  have "$program" || fail "$program is still missing after: ${install[*]}"
done
