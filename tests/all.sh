#!/usr/bin/env bash
# tests/all.sh [CARGO-TEST-ARGUMENT...]   get what the tests need, then run all of them.
#
# Gets real servers with tests/servers.sh, required and optional ones; the oldest (2.8, 3.0, 3.2) are compiled, once. python3-pip,
# make and a C compiler are installed with apt if they are missing, with sudo if this is not root.
# What is skipped (an absent optional server, an absent corpus) is said as it happens and once more at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ ! -r $HOME/.cargo/env ]] || . "$HOME/.cargo/env"

need=()
command -v cc >/dev/null || need+=(gcc libc6-dev)
python3 -m pip --version >/dev/null 2>&1 || need+=(python3-pip)
command -v flock >/dev/null || need+=(util-linux)
command -v prlimit >/dev/null || need+=(util-linux)
command -v make >/dev/null || need+=(make)
if [[ -r /etc/os-release ]] && grep -q '^ID=ubuntu' /etc/os-release && [[ ! -r /usr/share/keyrings/debian-archive-keyring.gpg ]]; then
  need+=(debian-archive-keyring debootstrap)                 # tests/servers.sh says why
fi
if [[ ${#need[@]} -gt 0 ]]; then
  echo "all: installing with apt-get: ${need[*]}"
  sudo=(); [[ $(id -u) = 0 ]] || sudo=(sudo)
  "${sudo[@]}" apt-get -qq update
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "${need[@]}" >/dev/null
fi

echo "== servers"
bash tests/servers.sh required optional

log=$(mktemp); trap 'rm -f "$log"' EXIT
run() { echo; echo "== $*"; "$@" 2>&1 | tee -a "$log"; }
# The hostile suite reads more than a million files: optimised, that is half a minute on two cores, else several.
run cargo --config 'profile.dev.package.rdbridge.opt-level=2' test --locked "$@"
run cargo build --locked --no-default-features
run cargo test --locked --no-default-features --lib

echo
if grep -q '^\*\*\*' "$log"; then echo "== said by the tests"; grep '^\*\*\*' "$log" | sort -u; fi
echo "== all tests passed"
