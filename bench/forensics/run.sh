#!/bin/sh
# Truth and verdict, again: several hundred generated cases of three families, hieron and two baselines.
#
#   bench/forensics/run.sh HIERON [SEED [PAGE]]
#
# Writes docs/confusion.md (or PAGE). PER_TRACK: fewer or more cases. PYTHON needs NumPy; where it has modeldna, that is
# scored too. TMPDIR needs 3 GB.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
hieron=$1 seed=${2:-2026} page=${3:-$here/../../docs/confusion.md} python=${PYTHON:-/usr/bin/python3}
cases=$(mktemp -d)
trap 'rm -rf "$cases"' EXIT
"$python" "$here/make_cases.py" textgenrnn dense5 moe "$cases" --seed "$seed" --hieron "$hieron" \
    --per-track "${PER_TRACK:-recipes=72,after=40,innocents=180,edits=36}"
modeldna=$("$python" -c 'import modeldna' 2>/dev/null && echo --modeldna || true)
"$python" "$here/score.py" "$cases/answers.json" "$cases" --tool "hieron=$hieron" --baseline lstsq --baseline nnls \
    $modeldna --confusion "$page"
