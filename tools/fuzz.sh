#!/usr/bin/env bash
# Builds the fuzz targets and runs each for a fixed number of inputs; stops at the first that fails.
#
# usage: tools/fuzz.sh BUILD_FOLDER RUNS JOBS
#
# The seeds of target NAME_fuzz are the files of fuzz/corpus/NAME, if there are any. What a run finds worth keeping
# stays in BUILD_FOLDER/corpus, so that a later run by hand goes deeper; from a clean folder the inputs are a function
# of the seeds and RUNS alone, so that a failure in CI can be had again here.
set -euo pipefail

build=$1 runs=$2 jobs=$3
targets=$(find fuzz -maxdepth 1 -name '*_fuzz.cc' -exec basename {} .cc \; | sort)
[ -n "$targets" ] || { echo "There is no fuzz/*_fuzz.cc to run." >&2; exit 1; }

cmake --build "$build" -j "$jobs" --target $targets
for target in $targets; do
  found=$build/corpus/${target%_fuzz}
  seeds=fuzz/corpus/${target%_fuzz}
  mkdir -p "$found"
  folders=("$found")
  [ ! -d "$seeds" ] || folders+=("$seeds")
  program=$(find "$build" -type f -name "$target" -perm -u+x | head -n 1)
  log=$build/$target.log
  if ! "$program" -runs="$runs" -seed=1 -max_len=8192 -timeout=10 -rss_limit_mb=1024 \
      -artifact_prefix="$build/" "${folders[@]}" >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
  fi
  echo "$target: $(grep -E '^Done ' "$log")"
done
