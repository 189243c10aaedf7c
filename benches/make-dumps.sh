#!/usr/bin/env bash
# benches/make-dumps.sh DIR [medium|large|big|list|gig ...]   make the dumps that the benchmarks read (default: medium large big).
#
#   medium  DIR/medium.rdb   256 MB, 1.06 million keys of all types
#   large   DIR/large.rdb    1.5 GB, 10 million small keys
#   big     DIR/big.rdb      550 MB, 7 keys of up to 5 million elements
#   list    DIR/list.rdb     one list of 10 million elements
#   gig     DIR/gig-random.rdb and DIR/gig-text.rdb: one string of 1 GiB each, one that does not compress and one that does
#
# A Redis 7.0 of tests/servers.sh is filled by gen_dump.py and saves. What is there is kept (FORCE=1 makes it anew).
# Takes about 1 minute for medium, 5 for large, 2 for big, 1 each for list and gig on two cores; large needs 4 GB of memory.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[[ $# -ge 1 && $1 != -* ]] || { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 2; }
mkdir -p "$1"; out=$(cd "$1" && pwd); shift
wanted=()
for profile in "${@:-medium large big}"; do
  for p in $profile; do
    case $p in
      medium|large|big|list) wanted+=("$p") ;;
      gig) wanted+=(gig-random gig-text) ;;
      *) echo "make-dumps: no profile $p" >&2; exit 2 ;;
    esac
  done
done

missing=()
for p in "${wanted[@]}"; do
  [[ -z ${FORCE:-} && -s $out/$p.rdb ]] || missing+=("$p")
done
if [[ ${#missing[@]} -gt 0 ]]; then
  bash "$here/../tests/servers.sh" redis-7.0 >/dev/null
  for p in "${missing[@]}"; do
    started=$SECONDS
    python3 "$here/make_dump.py" "$p" "$out/$p.rdb"
    echo "$p made in $((SECONDS - started)) s"
  done
fi
for p in "${wanted[@]}"; do printf '%-11s %12d bytes  %s\n' "$p" "$(stat -c %s "$out/$p.rdb")" "$out/$p.rdb"; done
