#!/bin/bash
# The demo: an image made from a static busybox, a pod of two containers, its page fetched through the host's
# port. State lives in a folder of the demo's own, which goes at the end, whatever happened.
set -euo pipefail
cd "$(dirname "$0")/.."
rkubelet=$(realpath "${1:-target/release/rkubelet}")

[ "$(id -u)" = 0 ] || { echo "make demo must run as root: it makes namespaces, mounts and packet-filter rules" >&2; exit 1; }

state=$(mktemp -d /var/tmp/rkube-demo.XXXXXX)
export RKUBELET_BRIDGE=rkdemo0 RKUBELET_POD_SUBNET=10.78.0.0/24
export RKUBELET_ROOT=$state/lib RKUBELET_RUN_ROOT=$state/run RKUBELET_LOG_ROOT=$state/log
cleanup() {
  "$rkubelet" reset --force >/dev/null 2>&1 || true
  rm -rf "$state"
}
trap cleanup EXIT

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '$ rkubelet %s\n' "$*"; "$rkubelet" "$@"; }
fetch() { curl -fsS -m 2 "$1" 2>/dev/null; }

port=8080
while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
sed "s/hostPort: 8080/hostPort: $port/" examples/web.yaml >"$state/web.yaml"

say "1. What this host has"
run check || true

say "2. An image, from a static busybox"
mkdir -p "$state/rootfs"/{bin,etc,tmp}
cp "$(command -v busybox)" "$state/rootfs/bin/busybox"
for applet in sh httpd date sleep mv echo cat ls ps wget hostname; do ln -s busybox "$state/rootfs/bin/$applet"; done
echo 'root:x:0:0:root:/:/bin/sh' >"$state/rootfs/etc/passwd"
run images import "$state/rootfs" localhost/rkube-demo:v1 --cmd /bin/sh
run images list

say "3. A pod: two containers, one volume, port $port of this host"
run run --detach --timing "$state/web.yaml"
run ps

say "4. Its page, at http://127.0.0.1:$port/"
for _ in $(seq 50); do
  page=$(fetch "http://127.0.0.1:$port/") && break
  read -rt 0.1 <> <(:) || true
done
echo "${page:?the page could not be fetched}"

say "5. Its logs, and a command in it"
run logs web -c writer --tail 3
run exec web -c server -- ps

say "6. The end"
run stop web
run rm web
run ps

say "What to try next"
cat <<NEXT
  make install                                     put rkubelet into /usr/local/bin
  rkubelet check                                   what this host lacks, and how to mend it
  rkubelet run examples/web.yaml                   the same pod in the foreground (import the image first, as above)
  rkubelet run --help                              manifests, flags, exit codes
  docs/getting-started.md                          the guide
NEXT
