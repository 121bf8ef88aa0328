#!/usr/bin/env bash
# Compiles the C library four times into web/dist (simd128 and relaxed SIMD, each with and without threads) and
# copies the two that run on one thread into the Python package. Incremental: make sees what has changed.
#
#     scripts/build_wasm.sh            uses .cache/toolchain/bin/emcc, or $EMCC
set -euo pipefail
cd "$(dirname "$0")/.."
exec make --no-print-directory -f scripts/wasm.mk -j"$(getconf _NPROCESSORS_ONLN)" "$@"
