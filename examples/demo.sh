#!/usr/bin/env bash
# The whole path on real weights, in two acts: a merge is made, found out and proven; an innocent fine-tune is cleared.
#
# usage: examples/demo.sh        after `make build`; writes demo/. Stops at the first step with an unexpected status.
set -euo pipefail
cd "$(dirname "$0")/.."

hieron=build/hieron
family=tests/data/textgenrnn

heading() {
  printf '\n\033[1m%s\033[0m\n' "$1" | if [ -t 1 ]; then cat; else sed 's/\x1b\[[01]m//g'; fi
}

# Shows the command as a person would type it, then runs it.
run() {
  printf '$'
  printf ' %s' "$@"
  printf '\n'
  "$@"
}

models=(
  --parent $family/hacker_news-bf16
  --base $family/base-bf16
  --control $family/reddit_rarepuppers-bf16
  --control $family/reddit_apple_android-bf16
  --control $family/reddit_legaladvice-bf16
)

rm -rf demo
mkdir demo

heading "Act 1. Somebody blends a fine-tune with its own base, six to four, and releases the result."
run $hieron merge examples/demo.yml demo/suspect

heading "What was it made of? The other fine-tunes of the same base are the controls."
run $hieron audit demo/suspect \
  "${models[@]}" \
  --json demo/report.json --html demo/report.html --recipe demo/recovered.yml \
  --expect exact-merge

heading "The proof, for anybody who has the three files: replay the recovered recipe and compare every bit."
run $hieron verify demo/recovered.yml demo/suspect

heading "The proof, for anybody who has none of them: what a sampled audit read, in one file of 2 MB."
run $hieron audit demo/suspect \
  "${models[@]}" \
  --evidence demo/evidence.tar --quiet
run $hieron verify demo/evidence.tar

heading "Act 2. The same accusation against an innocent fine-tune."
run $hieron audit $family/reddit_rarepuppers-bf16 \
  --parent $family/hacker_news-bf16 \
  --base $family/base-bf16 \
  --control $family/reddit_apple_android-bf16 \
  --control $family/reddit_legaladvice-bf16 \
  --json demo/innocent.json --html demo/innocent.html \
  --expect fine-tune,independent,undetermined

heading "Written: demo/report.html, demo/report.json, demo/recovered.yml, demo/evidence.tar, demo/innocent.html, demo/innocent.json"
