#!/bin/sh
# Runs fuzz targets on N inputs each and says how many ran; stops at the first failure.
#
#   fuzz/run.sh 1000000 [BUILD_DIR [TARGET…]]     configure first: cmake --preset clang
set -eu
inputs=${1:?"usage: fuzz/run.sh N [BUILD_DIR [TARGET…]]"}
here=$(cd "$(dirname "$0")" && pwd)
build=${2:-$here/../build-clang}
shift "$(($# < 2 ? $# : 2))"
[ $# -gt 0 ] || set -- header index recipe hub
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

for target; do
  program=$build/fuzz/fuzz_$target
  [ -x "$program" ] || { echo "fuzz_$target is not built; cmake --build $build" >&2; exit 1; }
  dict=$here/json.dict
  [ "$target" != recipe ] || dict=$here/yaml.dict
  mkdir "$scratch/$target"   # what is found goes there, not into the seeds
  if ! "$program" -runs="$inputs" -seed=1 -max_len=4096 -timeout=10 -rss_limit_mb=2048 \
      -dict="$dict" -print_final_stats=1 -artifact_prefix="$PWD/fuzz_$target-" \
      "$scratch/$target" "$here/corpus/$target" > "$scratch/$target.log" 2>&1; then
    tail -n 40 "$scratch/$target.log" >&2
    echo "fuzz_$target failed; the input is in $PWD/fuzz_$target-*" >&2
    exit 1
  fi
  ran=$(sed -n 's/^stat::number_of_executed_units: *//p' "$scratch/$target.log")
  covered=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$scratch/$target.log" | tail -n 1)
  echo "fuzz_$target: $ran inputs, no failure, $covered edges covered"
done
