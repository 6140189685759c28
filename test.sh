#!/usr/bin/env bash
# Every check there is, in the order of their cost. Exit code 0 only if all of them are good.
#
# Needs Rust with rustfmt and clippy, and a C compiler. Left out where its tools are missing, and that is said:
#   the second reader of receipts, and ONNX's own node tests    python3 with venv and pip, and PyPI
#   the same bits without AVX-512                               qemu-x86_64 (Debian: qemu-user), on x86-64
#   the same bits on AArch64                                    qemu-aarch64, gcc-aarch64-linux-gnu, and Rust's
#                                                               target aarch64-unknown-linux-gnu
# All output goes to target/.
set -euo pipefail
cd "$(dirname "$0")"

tests_log=target/tests.log
venv=target/reader-venv
node_venv=target/node-venv
digests=give_the_recorded
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

# The project ONNX publishes its node tests as Python code: made once, read by the tests of nabla-engine.
node_cases() {
    local made=target/node-cases.jsonl folder=crates/nabla-engine/tests/conformance
    [ -s "$made" ] && return
    if ! { python3 -m venv "$node_venv" && "$node_venv/bin/pip" install --quiet -r "$folder/requirements.txt"; }; then
        echo "!!! SKIPPED: ONNX's node tests need python3 with venv and pip, and packages from PyPI"
        return
    fi
    "$node_venv/bin/python" "$folder/make.py" "$made.part" && mv "$made.part" "$made"
}

# The digests of whole models, once more on a processor that has AVX2 and no AVX-512.
without_avx512() {
    if [ "$(uname -m)" != x86_64 ] || ! command -v qemu-x86_64 > /dev/null; then
        echo "!!! SKIPPED: the same bits without AVX-512 need qemu-x86_64 on x86-64"
        return
    fi
    NABLA_EMULATED=1 CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="qemu-x86_64 -cpu Haswell" \
        cargo test --workspace --test it -- --nocapture "$digests" | grep -E "recorded|test result: .* [1-9][0-9]* passed"
}

# The same on AArch64: the portable kernels and NEON.
on_aarch64() {
    local target=aarch64-unknown-linux-gnu
    if ! command -v qemu-aarch64 > /dev/null || ! command -v aarch64-linux-gnu-gcc > /dev/null \
        || ! [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; then
        echo "!!! SKIPPED: the same bits on AArch64 need qemu-aarch64, gcc-aarch64-linux-gnu and the Rust target $target"
        return
    fi
    NABLA_EMULATED=1 CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu" \
        cargo test -p nabla-engine --target "$target" --config 'profile.dev.package."*".opt-level=1' --test it \
        -- --nocapture "$digests" \
        | grep -E "recorded|test result: .* [1-9][0-9]* passed"
}

# The vectorised release build against the digests that the tests recorded with a light one.
release_bits() {
    local nabla=target/release/nabla light=target/debug/nabla model kernels digest expected given
    for model in digits tumor fabula; do
        case $model in
            fabula) given=(models/fabula/model.gguf --prompt "Once upon a time" --max-tokens 40) ;;
            *) given=("models/$model/model.onnx" --input "models/$model/examples/one.json") ;;
        esac
        expected=$("$nabla" model run "${given[@]}" --json --kernels scalar | grep -o '"output_digest": *"[0-9a-f]*"')
        for kernels in avx2 avx512 neon auto; do
            digest=$("$nabla" model run "${given[@]}" --json --kernels "$kernels" --threads 2 2> /dev/null | grep -o '"output_digest": *"[0-9a-f]*"') || continue
            [ "$digest" = "$expected" ] || { echo "$model with $kernels: $digest, expected $expected"; return 1; }
            echo "$model with $kernels: the bits of the scalar kernels"
        done
        grep -qF "$expected" <("$light" model run "${given[@]}" --json --kernels scalar) \
            || { echo "$model: debug and release builds differ"; return 1; }
    done
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
stage "node tests of ONNX, made" node_cases
stage "tests" tests
stage "the same bits without AVX-512" without_avx512
stage "the same bits on AArch64" on_aarch64
stage "documentation" docs
stage "second reader of receipts" second_reader
stage "demonstration" cargo run --release -- demo
stage "the same bits from a release build" release_bits

printf '\n=== total: %d s; failed stages: %s\n' "$SECONDS" "${failed[*]:-none}"
summary || true
[ "${#failed[@]}" -eq 0 ]
