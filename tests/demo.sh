#!/usr/bin/env bash
# tests/demo.sh [FILE [URL [LOAD-OPTION...]]]   build rdbridge and show it at work.
#
# Loads FILE (default: testdata/sample.rdb) into a scratch Redis on a free loopback port, shows `info`, the load and a few
# of the keys as the server now returns them, and stops the server again. With a URL it loads into that and starts nothing:
# keys that are there already are left alone, so that it can be run again. Further arguments go to `rdbridge load` instead of
# that. The load's journal is kept in a temporary directory, and goes away with it.
#
# Works on a bare Debian or Ubuntu with Rust. What is missing (a C compiler for the build, a Redis) it gets and says so:
# by apt, with sudo if it is not run by root, or, for the Redis, unpacked in ~/.cache/rdbridge/servers by tests/servers.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ ${1:-} != -* ]] || { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 2; }
file=${1:-testdata/sample.rdb} url=${2:-}
[[ -e $file ]] || { echo "demo: $file does not exist" >&2; exit 3; }
servers=${RDBRIDGE_SERVERS:-$HOME/.cache/rdbridge/servers}

step() { printf '\n== %s\n' "$*"; }
die() { echo "demo: $*" >&2; exit 1; }
install_packages() {
  echo "demo: installing with apt-get: $*" >&2
  command -v apt-get >/dev/null || die "there is no apt-get here; please install: $*"
  local sudo=(); [[ $(id -u) = 0 ]] || { command -v sudo >/dev/null || die "not root and no sudo; please install: $*"; sudo=(sudo); }
  "${sudo[@]}" apt-get -qq update
  # RUNLEVEL=1: a package's service is not to be started.
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qq -y --no-install-recommends install "$@" >/dev/null
}

# ---- build
[[ ! -r $HOME/.cargo/env ]] || . "$HOME/.cargo/env"
command -v cargo >/dev/null || die "cargo is not here: install Rust first"
command -v cc >/dev/null || install_packages gcc libc6-dev
step "cargo build --release"
cargo build --release --locked
rdbridge=${CARGO_TARGET_DIR:-target}/release/rdbridge

# ---- a scratch server
# The server that can hold what this file holds. A name of tests/servers.sh.
case $(head -c 9 "$file" 2>/dev/null | tr -d '\0') in
  VALKEY*) name=valkey-9.0 ;;
  REDIS0011|REDIS0012) name=redis-8.0 ;;
  REDIS001[3-9]) name=redis-8.10 ;;
  *) name=redis-7.0 ;;
esac
pid='' dir=''
cleanup() {
  [[ -z $pid ]] || { kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; }
  [[ -z $dir ]] || rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
dir=$(mktemp -d)
export RDBRIDGE_JOURNAL_DIR=$dir/journals # not beside the file
find_server() { # sets server
  server=$(command -v redis-server || true)
  if [[ $name = redis-7.0 && -n $server ]] && "$server" --version | grep -qE 'v=([789]|[1-9][0-9]+)\.'; then return; fi
  server=$servers/$name/redis-server
  "$server" --version >/dev/null 2>&1 && return
  echo "demo: fetching $name into $servers (tests/servers.sh; nothing is installed)" >&2
  bash tests/servers.sh "$name" >&2 && return
  echo "demo: that did not work; taking the distribution's redis-server instead" >&2
  install_packages redis-server
  server=$(command -v redis-server)
}
ping_port() { # does something on this loopback port answer PING with PONG?
  local line=''
  { exec 3<>"/dev/tcp/127.0.0.1/$1"; } 2>/dev/null || return 1
  printf 'PING\r\n' >&3; read -r -t 2 line <&3 || true
  exec 3>&- 3<&-
  [[ $line = +PONG* ]]
}
options=("${@:3}")
if [[ -n $url ]]; then
  [[ $# -gt 2 ]] || options=(--on-conflict skip)
else
  find_server
  for _ in 1 2 3 4 5; do
    port=$((20000 + RANDOM % 12000))
    "$server" --port $port --bind 127.0.0.1 --save '' --dir "$dir" --daemonize no >"$dir/log" 2>&1 & pid=$!
    for _ in {1..100}; do
      sleep 0.05
      kill -0 "$pid" 2>/dev/null || { pid=''; break; }       # the port was taken: another one
      ping_port $port && break 2
    done
    [[ -z $pid ]] || break
  done
  [[ -n $pid ]] && ping_port $port || { cat "$dir/log" >&2; die "the scratch server does not start"; }
  url=redis://127.0.0.1:$port
  step "a scratch server: $("$server" --version | head -n 1)"
  echo "at $url; it goes away with this script"
fi
shown=$(sed -E 's#//[^@/]*@#//***@#' <<<"$url")

# ---- the demonstration
step "rdbridge info $file"
"$rdbridge" info "$file"
step "rdbridge load $file --to $shown ${options[*]}"
rc=0
"$rdbridge" load "$file" --to "$url" "${options[@]}" || rc=$?
[[ $rc -le 1 ]] || { echo "demo: the load ended with exit code $rc" >&2; exit $rc; }

# ---- what the server says now
cli=$(command -v redis-cli || true)
[[ -n $cli ]] || cli=$servers/$name/redis-cli
[[ -x $cli ]] || { bash tests/servers.sh redis-7.0 >&2; cli=$servers/redis-7.0/redis-cli; }
ask() { "$cli" --no-auth-warning -u "$url" -n "$@"; }        # ask DB COMMAND...
show() { # DB KEY
  local type; type=$(ask "$1" TYPE "$2")
  [[ $type != none || $file != testdata/sample.rdb ]] || die "key $2 of db $1 is not at the destination, although the load ended with exit code $rc"
  printf '\ndb %s, %s %s, expires in %s s (-1: never)\n' "$1" "$type" "$2" "$(ask "$1" TTL "$2")"
  case $type in
    string) ask "$1" GETRANGE "$2" 0 120 ;;
    list) ask "$1" LRANGE "$2" 0 3 ;;
    set) ask "$1" SRANDMEMBER "$2" 4 ;;
    zset) ask "$1" ZRANGE "$2" 0 2 WITHSCORES ;;
    hash) ask "$1" HSCAN "$2" 0 COUNT 4 | sed -n '2,9p' ;;
    stream) ask "$1" XRANGE "$2" - + COUNT 2 ;;
  esac | tr -d '\000-\010\013-\037\177' | cut -c 1-200 | sed 's/^/    /' # no control characters on the terminal
}
step "what the server returns now"
ask 0 INFO keyspace | tr -d '\r'
if [[ $file = testdata/sample.rdb ]]; then
  for key in shop:name product:1 page:/product/teapot bestsellers queue:mail orders:open events; do show 0 "$key"; done
  show 3 config
  printf '\nFCALL_RO stock 1 product:1, from the function library in the dump\n'
  ask 0 FCALL_RO stock 1 product:1 | sed 's/^/    /'
else
  for db in $(ask 0 INFO keyspace | sed -n 's/^db\([0-9]*\):.*/\1/p' | sed -n 1,3p); do
    mapfile -t keys < <(ask "$db" SCAN 0 COUNT 50 | sed -n 2,5p)
    for key in "${keys[@]}"; do show "$db" "$key"; done
  done
fi
step "done (rdbridge load ended with exit code $rc)"
exit $rc
