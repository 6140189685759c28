#!/usr/bin/env bash
# Every check there is, in the order of their cost. Exit code 0 only if all of them are good.
#
# Needs Rust with rustfmt and clippy, and a C compiler. The second reader of receipts also needs python3 with venv and
# pip; without them it is left out, and that is said. All output goes to target/.
set -euo pipefail
cd "$(dirname "$0")"

tests_log=target/tests.log
venv=target/reader-venv
failed=()

# stage NAME COMMAND...: run it, say how it went and how long it took, go on.
stage() {
    local name=$1 began=$SECONDS outcome=ok
    shift
    printf '\n=== %s\n' "$name"
    "$@" || { outcome=FAILED; failed+=("$name"); }
    printf '=== %s: %s, %d s\n' "$name" "$outcome" $((SECONDS - began))
}

tests() {
    cargo test --workspace --no-fail-fast 2>&1 | tee "$tests_log"
}

docs() {
    RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps
}

second_reader() {
    if ! { python3 -m venv "$venv" && "$venv/bin/pip" install --quiet -r spec/reader/requirements.txt; }; then
        echo "!!! SKIPPED: the second reader needs python3 with venv and pip, and packages from PyPI"
        return
    fi
    "$venv/bin/python" spec/reader/test_vectors.py | sed 's/^/reader: /'
}

# The closing lines of every test program, and their sum: alone on the last line.
summary() {
    grep '^test result:' "$tests_log"
    awk '/^test result:/ { passed += $4; failed += $6 } END { printf "%d passed, %d failed\n", passed, failed }' "$tests_log"
}

mkdir -p target
: > "$tests_log"
stage "format" cargo fmt --all --check
stage "lints" cargo clippy --workspace --all-targets -- -D warnings
stage "tests" tests
stage "documentation" docs
stage "second reader of receipts" second_reader
stage "demonstration" cargo run --release -- demo

printf '\n=== total: %d s; failed stages: %s\n' "$SECONDS" "${failed[*]:-none}"
summary || true
[ "${#failed[@]}" -eq 0 ]
