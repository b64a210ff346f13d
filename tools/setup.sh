#!/usr/bin/env bash
# Sees to it that the packages of a group of tools/packages.txt are there.
#
# usage: tools/setup.sh build|check        check includes build
#
# On Debian 12 what is missing is installed with apt-get (as root, or with sudo). Elsewhere, if what the build
# needs is not found, the package names are printed and the status is 1. Says nothing if nothing is missing.
set -euo pipefail

group=${1:-build}
list=$(dirname "$0")/packages.txt
case $group in
  build) packages=$(awk '$1 == "build" {print $2}' "$list") ;;
  check) packages=$(awk '$1 == "build" || $1 == "check" {print $2}' "$list") ;;
  *) echo "usage: tools/setup.sh build|check" >&2; exit 2 ;;
esac

is_debian_12() {
  [ -r /etc/os-release ] && (. /etc/os-release && [ "${ID:-}" = debian ] && [ "${VERSION_ID:-}" = 12 ])
}

installed() {
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Where package names mean nothing: do the compiler, the headers and the Python modules work?
build_works() {
  for tool in g++ cmake ninja mold; do command -v "$tool" >/dev/null || return 1; done
  /usr/bin/python3 -c 'import jsonschema, numpy' 2>/dev/null || return 1
  g++ -std=c++23 -fsyntax-only -x c++ - 2>/dev/null <<'CODE'
#include <CLI/CLI.hpp>
#include <boost/math/distributions/beta.hpp>
#include <curl/curl.h>
#include <expected>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>
#include <openssl/evp.h>
#include <rapidcheck.h>
#include <simdjson.h>
#include <unicode/uregex.h>
#include <yaml-cpp/yaml.h>
#include <zlib.h>
CODE
}

checks_work() {
  for tool in clang++-19 clang-format-19 clang-tidy-19; do command -v "$tool" >/dev/null || return 1; done
  printf '#include <benchmark/benchmark.h>\n' | g++ -std=c++23 -fsyntax-only -x c++ - 2>/dev/null
}

if ! is_debian_12; then
  if build_works && { [ "$group" = build ] || checks_work; }; then exit 0; fi
  echo "This is not Debian 12, and not everything that hieron's '$group' targets need was found." >&2
  echo "Install what these Debian packages hold, under the names of your system, and run again:" >&2
  printf '  %s\n' $packages >&2
  exit 1
fi

missing=()
for package in $packages; do
  installed "$package" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "Missing packages: ${missing[*]}. Run 'apt-get install ${missing[*]}' as root." >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "installing: ${missing[*]}" >&2
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300)
"${apt[@]}" update >&2
"${apt[@]}" install -y --no-install-recommends "${missing[@]}" >&2
