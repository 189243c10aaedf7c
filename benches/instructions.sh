#!/usr/bin/env bash
# benches/instructions.sh [--check]   count the processor's instructions of the hot paths, which a busy machine does not change.
#
# Makes one small dump from a fixed rule (benches/instructions.rs) and counts, by valgrind's callgrind, what these cost:
#   info       the scan, checksum included          export-ndjson    decoding and formatting
#   check      walking every value                  export-restore   RESTORE commands as text
#   batches    building the RESTORE commands that a load sends
# and writes benches/instructions.tsv. With --check nothing is written: it fails where a count grew by more than 3 %.
#
# Valgrind is installed by apt-get where it is missing (said first). The counts depend on the compiler's version and a little on
# the C library: record them anew where these change, before the change that is to be judged. Takes about two minutes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
table=benches/instructions.tsv
case ${1:-} in
  ''|--check) ;;
  *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 2 ;;
esac

if ! command -v valgrind >/dev/null; then
  echo "instructions: valgrind is missing; installing it by apt-get" >&2
  if [[ $(id -u) == 0 ]]; then as=(); else as=(sudo); fi
  "${as[@]}" apt-get update -qq
  "${as[@]}" apt-get install -y -qq valgrind >/dev/null
fi

cargo build --release --quiet --bin rdbridge
target=$(cargo metadata --no-deps --format-version 1 | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')
bench=$(cargo build --release --quiet --bench instructions --message-format json |
  python3 -c 'import json,sys
for line in sys.stdin:
    m = json.loads(line)
    if m.get("executable") and m["target"]["name"] == "instructions": print(m["executable"])')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$bench" make "$work/dump.rdb"

count() { # NAME COMMAND...: instructions of all threads
  local name=$1 n; shift
  n=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null "$@" 2>&1 >/dev/null | sed -n 's/.*Collected : \([0-9]*\).*/\1/p')
  [[ -n $n ]] || { echo "instructions: $name was not counted: $*" >&2; exit 3; }
  printf '%s\t%s\n' "$name" "$n"
}
rdbridge=$target/release/rdbridge
{
  count info "$rdbridge" info "$work/dump.rdb"
  count check "$rdbridge" check "$work/dump.rdb"
  count export-ndjson "$rdbridge" export --format ndjson "$work/dump.rdb"
  count export-restore "$rdbridge" export --format restore "$work/dump.rdb"
  count batches "$bench" batches "$work/dump.rdb"
} >"$work/now.tsv"

if [[ ${1:-} != --check ]]; then
  cp "$work/now.tsv" "$table"
  cat "$table"
  exit
fi
[[ -s $table ]] || { echo "instructions: $table is missing; record it first" >&2; exit 3; }
awk -F'\t' '
  NR == FNR { before[$1] = $2; next }
  !($1 in before) { printf "%-16s %14d  not recorded yet\n", $1, $2; bad = 1; next }
  { change = 100 * ($2 - before[$1]) / before[$1]
    worse = change > 3; bad = bad || worse
    printf "%-16s %14d  %+6.2f %%%s\n", $1, $2, change, worse ? "  MORE THAN 3 %" : "" }
  END { exit bad }' "$table" "$work/now.tsv"
