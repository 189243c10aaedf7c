#!/usr/bin/env bash
# benches/compare.sh [--runs N] [--dumps medium,large,big,gig] [--only ROWS] [--scale X] [--write-readme [--keep]] : rdbridge
# beside its rivals, in one run. --keep leaves the README's rows that this run does not measure; --help names the ROWS.
#
# Makes what is missing first: the release build, the servers (tests/servers.sh), the dumps (benches/make-dumps.sh, several
# GB under ~/.cache/rdbridge/bench), the crate `rdb` (cargo install, into ~/.cache/rdbridge/rivals). Then each pair runs
# alternately, and the medians of the ratios are printed as the table that the README shows. RDB_CLI=/path names the
# redis organisation's C parser, which is measured where it is given. Sends traffic to loopback only.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${RDBRIDGE_CACHE:-$HOME/.cache/rdbridge}
dumps=medium,large,big,gig
args=("$@")
for ((i = 0; i < ${#args[@]}; i++)); do
  [[ ${args[i]} != --dumps ]] || dumps=${args[i + 1]}
done
echo "building the release (cargo build --release)" >&2
cargo build --release --quiet
bash tests/servers.sh redis-7.0 >&2
# shellcheck disable=SC2086
bash benches/make-dumps.sh "$cache/bench" ${dumps//,/ } >&2
if [[ ! -x $cache/rivals/bin/rdb ]]; then
  echo "installing the crate rdb 0.4 into $cache/rivals" >&2
  cargo install --quiet rdb --version 0.4.0 --root "$cache/rivals" >&2 || echo "the crate rdb cannot be installed: its rows are left out" >&2
fi
exec python3 benches/compare.py --bench "$cache/bench" --rivals "$cache/rivals" "$@"
