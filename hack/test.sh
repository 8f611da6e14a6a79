#!/bin/bash
# Builds and passes every test, the privileged end-to-end ones included. What `make test` and CI run.
#
# usage: hack/test.sh [--keep-going]
#
# Output goes to target/test-logs; here only the summary is printed, and in full whatever failed. Afterwards:
#   * every test that was skipped must be listed with its reason in tests/skips.txt, or the run fails;
#   * nothing of ours may be left on this machine: processes, mounts, cgroups, devices, packet-filter rules.
# RKUBE_SOAK=1 runs the long variants, and property tests with cases of chance. RKUBE_NO_GUEST=1 leaves out the guest with cgroup v2.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=never RUST_BACKTRACE=0
# The same cases of property tests every time, but for the long variants: what fails here fails again.
[ -n "${RKUBE_SOAK:-}" ] || export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-20260601}
target=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
logs=$target/test-logs
rm -rf "$logs"
mkdir -p "$logs"
failed=()
started=$SECONDS

say() { printf '%4d s  %s\n' $((SECONDS - started)) "$*"; }

# ---- what this machine has of ours -------------------------------------------------------------

# One line for each thing; the same before and after, or a test has left something behind.
ours() {
  local pid name
  for pid in /proc/[0-9]*; do
    name=$(tr '\0' ' ' 2>/dev/null <"$pid/cmdline" || true)
    case $name in
    rkubelet\ * | rkube-pause* | */rkubelet\ * | */rkube-runtime\ * | *linux.uml*) echo "process ${pid#/proc/} $name" ;;
    esac
  done
  grep -o ' /[^ ]*rkube[^ ]*' /proc/self/mountinfo | sed 's/^/mount/' || true
  find /sys/fs/cgroup -type d \( -name 'rkube*' -o -path '*/kubepods/*' \) 2>/dev/null | sed 's/^/cgroup /' || true
  ls -d /sys/class/net/rk* 2>/dev/null | sed 's/^/device /' || true
  ls -d /run/netns/rk* /run/rkube* /tmp/rkube-tests-* /var/tmp/rkube-e2e.* 2>/dev/null | sed 's/^/file /' || true
  if command -v iptables-save >/dev/null; then
    { iptables-save 2>/dev/null || true; } | grep -i rkube | sed 's/\[[0-9:]*\]//; s/^/rule /' || true
  fi
}

# Ended processes and dropped namespaces take the kernel a moment.
left_behind() {
  local try
  for try in 1 2 3 4 5 6 7 8 9 10; do
    ours | sort >"$logs/after"
    comm -13 "$logs/before" "$logs/after" >"$logs/left"
    [ -s "$logs/left" ] || return 1
    read -rt 0.5 <> <(:) || true
  done
}

# ---- steps ---------------------------------------------------------------------------------------

# Runs a command with its output in a log; on failure the log's last part is shown.
step() {
  local name=$1
  shift
  say "$name"
  if "$@" >"$logs/$name.log" 2>&1 </dev/null; then
    return 0
  fi
  failed+=("$name")
  echo "---- $name failed; the end of $logs/$name.log:"
  if grep -q '^failures:$' "$logs/$name.log"; then
    # Of each binary with a failure, what its failed tests said.
    awk '/^failures:$/ { on = 1 } on { print } /^test result:/ { on = 0 }' "$logs/$name.log" | tail -n 400
  else
    tail -n 60 "$logs/$name.log"
  fi
  echo "----"
}

# Runs the tests that failed in a step once more, one at a time. Those that pass now are named, so that nobody takes
# them for sound, but do not fail the run: they wait for processes, and a busy machine can make any bound too short.
once_more() {
  local name=$1 tests
  shift
  [[ " ${failed[*]-} " == *" $name "* ]] || return 0
  tests=$(sed -n 's/^test \([^ ]*\) \.\.\. FAILED$/\1/p' "$logs/$name.log" | sort -u)
  [ -n "$tests" ] && [ "$(wc -l <<<"$tests")" -le 5 ] || return 0
  # shellcheck disable=SC2086 # names of tests have no blanks
  if "$@" -- --exact --test-threads 1 $tests >"$logs/$name-again.txt" 2>&1 </dev/null; then
    say "passed only at the second try: ${tests//$'\n'/ }"
    local kept=() one
    for one in "${failed[@]}"; do [ "$one" = "$name" ] || kept+=("$one"); done
    failed=("${kept[@]}")
  else
    say "failed at the second try too; see $logs/$name-again.txt"
    tail -n 60 "$logs/$name-again.txt"
  fi
}

# Prints the numbers of all `test result` lines of a log in one.
count() {
  awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 }
    END { printf "%d passed, %d failed, %d ignored\n", passed, failed, ignored }' "$@"
}

ours | sort >"$logs/before"
step build cargo build --workspace --bins
[ ${#failed[@]} = 0 ] || exit 1
step build-tests cargo test --workspace --no-run
[ ${#failed[@]} = 0 ] || exit 1

# Everything but the end-to-end crate; then that one with more threads: its tests wait more than they work.
step unit cargo test --workspace --exclude rkube-tests --no-fail-fast -- --show-output
once_more unit cargo test --workspace --exclude rkube-tests
step end-to-end cargo test --package rkube-tests --no-fail-fast -- --show-output --test-threads 6
once_more end-to-end cargo test --package rkube-tests
if [ -z "${RKUBE_NO_GUEST:-}" ] && [ "$(id -u)" = 0 ]; then
  step cgroup2 hack/test-cgroup2.sh --short
fi

say "$(count "$logs"/*.log)"

# ---- what was skipped ----------------------------------------------------------------------------

# tests/skips.txt: one extended regular expression a line, matched against "SKIP name: why".
grep -hoE 'SKIP [^ ]+:? .*' "$logs"/*.log | sort -u >"$logs/skipped" || true
grep -vE '^(#|$)' tests/skips.txt >"$logs/allowed" || true
new=$(grep -vEf "$logs/allowed" "$logs/skipped" || true)
say "$(wc -l <"$logs/skipped") skipped (listed in $logs/skipped)"
if [ -n "$new" ]; then
  failed+=(skips)
  echo "---- skipped, and not in tests/skips.txt:"
  echo "$new"
fi

# The cgroups that pods have in common go with a reset, when no pod of any host is in them.
scratch=$(mktemp -d)
[ "$(id -u)" != 0 ] || unshare --net env RKUBELET_ROOT="$scratch/lib" RKUBELET_RUN_ROOT="$scratch/run" RKUBELET_LOG_ROOT="$scratch/log" \
  "$target/debug/rkubelet" reset --force >"$logs/reset.log" 2>&1 || failed+=(reset)
rm -rf "$scratch"
if left_behind; then
  failed+=(leftovers)
  echo "---- left behind by the tests:"
  cat "$logs/left"
fi

if [ ${#failed[@]} != 0 ]; then
  say "FAILED: ${failed[*]}"
  exit 1
fi
say "all passed, nothing left behind"
