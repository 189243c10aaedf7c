#!/usr/bin/env bash
# tests/make-testdata.sh [-d OUT] [SERVER...]   make testdata/ again, with real servers (default: every server that is there).
#
# The committed files are the truth; this documents how they were made. Making them again gives the same keys and values but
# other bytes. Needs python3 (its standard library only) and the servers, which it fetches with tests/servers.sh.
# The files of servers that cannot be had stay as they are.
set -euo pipefail
cd "$(dirname "$0")/.."
out=testdata
if [[ ${1:-} = -d ]]; then out=$2; shift 2; fi
[[ ${1:-} != -* ]] || { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 2; }
bash tests/servers.sh "$@" >/dev/null
mkdir -p "$out"
exec python3 tests/generate/testdata.py "$out" "$@"
