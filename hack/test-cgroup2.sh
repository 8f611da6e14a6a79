#!/bin/bash
# The runtime and pod suites where cgroup v2 is all there is: in hack/cgroup2-guest, one start for all of them.
#
# usage: hack/test-cgroup2.sh [--short] [FILTER]...
#
#   --short   only what the cgroup version makes a difference to (this is part of `make test`)
#   FILTER    only end-to-end tests whose names contain one of these
#
# What is skipped is printed with its reason. The guest has one slow CPU, iptables-legacy and no cpuset.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=never
short= filters=()
while [ $# -gt 0 ]; do
  case $1 in
  --short) short=1 ;;
  *) filters+=("$1") ;;
  esac
  shift
done

target=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
mkdir -p "$target"
job=$(mktemp -d "$target/cgroup2.XXXXXX")
trap 'rm -rf "$job"' EXIT

cargo build --quiet --package rkubelet --bins
# cargo says in JSON what it built; a test binary has "profile":{..."test":true}.
cargo test --no-run --message-format=json --package rkube-runtime --package rkube-tests 2>"$job/build" |
  grep '"test":true' | sed -n 's/.*"name":"\([^"]*\)".*"executable":"\([^"]*\)".*/\1 \2/p' >"$job/built" || {
  cat "$job/build" >&2
  exit 1
}
# One line each: binary, then the filters of its run.
if [ ${#filters[@]} -gt 0 ]; then
  printf 'e2e %s\n' "${filters[*]}" >"$job/runs"
elif [ -n "$short" ]; then
  cat >"$job/runs" <<'RUNS'
rkube_runtime cgroup
e2e pods::an_out pods::what pods::the_exit pods::who environment::limits security::the detached::a_killed detached::reset
RUNS
else
  sed 's/ .*//' "$job/built" | grep -v '^rkube_tests$' >"$job/runs"
fi

cat >"$job/inside" <<'INSIDE'
# In the guest, where what is written is forgotten, $target excepted. Its kernel has no nf_tables.
job=$1
export RKUBE_TIME_FACTOR=20 RKUBE_CGROUP2_GUEST=1 RUST_BACKTRACE=0
for tool in iptables iptables-save iptables-restore; do
  legacy=${tool/iptables/iptables-legacy}
  legacy=$(command -v "$legacy") && ln -sf "$legacy" "$(command -v "$tool")"
done
mount -o remount,size=90% /var/tmp
code=0
while read -r name filters; do
  binary=$(sed -n "s/^$name //p" "$job/built")
  echo "==== $name $filters"
  # shellcheck disable=SC2086 # filters are words
  timeout 1500 "$binary" --test-threads 2 --show-output $filters </dev/null 2>&1 || code=1
done <"$job/runs"
exit $code
INSIDE

code=0
hack/cgroup2-guest -w "$target" -m 2048 -t 3000 bash "$job/inside" "$job" >"$job/out" 2>&1 || code=$?
if [ $code != 0 ]; then
  cat "$job/out"
else
  grep -E '^(====|test result)' "$job/out"
  grep -hoE 'SKIP [^ ]+:? .*' "$job/out" | sort -u || true
fi
exit $code
