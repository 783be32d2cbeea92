#!/usr/bin/env bash
# Runs fuzz targets one after another, and fails if one of them finds something.
#   fuzz/run.sh [--seconds N] [target…]
# N is the time for each target, 60 by default; without names all targets run. Needs cargo-fuzz (`cargo install cargo-fuzz`)
# and a compiler for C++. What breaks a target is kept in fuzz/artifacts/TARGET.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=60
targets=()
while [ $# -gt 0 ]; do
  case "$1" in
    --seconds) seconds=${2:?--seconds needs a number}; shift 2 ;;
    -*) echo "unknown option: $1" >&2; exit 2 ;;
    *) targets+=("$1"); shift ;;
  esac
done
case "$seconds" in
  '' | *[!0-9]* | 0) echo "--seconds has to be a positive whole number, not '$seconds'" >&2; exit 2 ;;
esac
command -v cargo-fuzz >/dev/null || { echo "cargo-fuzz is missing: cargo install cargo-fuzz" >&2; exit 2; }

# cargo-fuzz wants a nightly compiler; this makes a stable one do. AddressSanitizer would need nightly's standard library.
export RUSTC_BOOTSTRAP=1
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo fuzz list)
cargo fuzz build -s none

failed=()
for target in "${targets[@]}"; do
  echo "== $target: $seconds s"
  folders=("fuzz/corpus/$target")
  [ ! -d "fuzz/seeds/$target" ] || folders+=("fuzz/seeds/$target")
  options=("-max_total_time=$seconds" -timeout=20 -print_final_stats=1)
  case "$target" in
    frames | listeners) options+=(-dict=fuzz/frames.dict) ;;
    scheduling) options+=(-dict=fuzz/scheduling.dict) ;;
  esac
  mkdir -p "fuzz/corpus/$target"
  cargo fuzz run -s none "$target" "${folders[@]}" -- "${options[@]}" || failed+=("$target")
done
if [ ${#failed[@]} -gt 0 ]; then
  echo "findings: ${failed[*]}" >&2
  exit 1
fi
echo "no findings in ${#targets[@]} targets"
