# Writes new files beside the ones that they will replace, proves that they arrived whole, and lets products
# check their own. No live file is touched.

# lease owner way-back|- folder...
stage_begin() {
  lease=$1 owner=$2 way=$3
  shift 3
  begin
  failed=
  made=
  claim_host || return 0
  if [ "$way" != - ] && ! has_way_back; then
    say no-way-back
    failed=way
    return 0
  fi
  err=$(prepare_state "$@" 2>&1) || { say "failed state - $(blob "$err")"; failed=state; }
}

# Ours alone from here on. What an earlier run left to undo is undone first: our plan did not know of it.
claim_host() {
  lock_begin 2>/dev/null || { say "failed lock - $(blob "$(lock_begin 2>&1)")"; failed=lock; return 1; }
  err=$(take_lock "$lease" "$lock_ttl" "$owner" 2>&1)
  case $? in
    0) ;;
    1) say_lease locked; failed=lock; return 1 ;;
    *) say "failed lock - $(blob "$err")"; failed=lock; return 1 ;;
  esac
  [ -d "$state/revert" ] && [ ! -L "$state" ] || return 0
  settled=$(FLEET_LEASE=$lease sh "$state/revert/run" settle </dev/null 2>&1)
  case $settled in
    *' confirmed') return 0 ;;
    *) say "settled $(blob "$settled")"; failed=settled; return 1 ;;
  esac
}

prepare_state() {
  for folder in /var /var/lib /var/lib/fleet; do
    [ -d "$root$folder" ] || mkdir -m 755 "$root$folder" || return 1
  done
  [ ! -L "$state" ] || { echo "$state is a symbolic link"; return 1; }
  is_ours "$state" || { echo "$state belongs to somebody else"; return 1; }
  for folder in previous originals was-started; do
    [ -d "$state/$folder" ] || mkdir "$state/$folder" || return 1
  done
  [ -d "$state/started" ] || mkdir -m 755 "$state/started" || return 1
  clean_stage
  [ ! -e "$state/manifest.before" ] || rm -f "$state/manifest.before"
  [ $# = 0 ] || { printf '%s\n' "$@" >"$state/staging"; } 2>/dev/null || printf '%s\n' "$@" | cat >"$state/staging"
}

# index parent name mode owner
make_folder() {
  [ -z "$failed" ] || return 0
  if err=$(make_folder_in "$@" 2>&1); then
    made="$2/$3 $made"
    say "made $1"
  else
    say "failed folder $1 $(blob "$err")"
    failed=folder
  fi
}

make_folder_in() {
  enter_folder "$2" && mkdir -m "$4" "./$3" || return 1
  [ "$uid" != 0 ] || chown "$5" "./$3" && chmod "$4" "./$3" || { rmdir "./$3"; return 1; }
}

# index folder: goes into our folder beside the targets there, and stays; index is that of its first file
stage_in() {
  [ -z "$failed" ] || return 0
  below=$2
  open_stage "$2" 2>/dev/null || fail_stage "$1" "$(open_stage "$2" 2>&1)"
}

open_stage() {
  enter_folder "$1" || return 1
  [ -d ./.fleet-stage ] || mkdir -m 700 ./.fleet-stage || return 1
  enter_stage "$1" || return 1
  [ -d ./new ] || mkdir ./new ./old
}

fail_stage() {
  say "failed stage $1 $(blob "$2")"
  failed=stage
}

# index name content
stage_text() {
  [ -z "$failed" ] || return 0
  { clear_place "$2" && printf '%s' "$3" >"./new/$2"; } 2>/dev/null && return 0
  err=$({ clear_place "$2" && printf '%s' "$3" | cat >"./new/$2"; } 2>&1) || fail_stage "$1" "$err"
}

# index name, content in base64 on stdin
stage_bytes() {
  [ -z "$failed" ] || return 0
  err=$({ clear_place "$2" && base64 -d >"./new/$2"; } 2>&1) || fail_stage "$1" "$err"
}

clear_place() { [ ! -e "./new/$1" ] || rm -f "./new/$1"; }

# mode owner, then index name digest of each: theirs, on the disk, and whole
stage_whole() {
  [ -z "$failed" ] || return 0
  mode=$1 owner=$2
  shift 2
  make_whole "$@" 2>/dev/null && return 0
  while [ $# -ge 3 ]; do
    err=$(make_whole "$1" "$2" "$3" 2>&1) || { fail_stage "$1" "$err"; return; }
    shift 3
  done
}

# files that we have just written: root's by birth, where they are to be
are_root_s() {
  [ "$gid $owner" = '0 root:root' ] || return 1
  for each in "$@"; do [ -O "$each" ] && [ -G "$each" ] || return 1; done
} 2>/dev/null

make_whole() {
  list_staged "$@"
  if [ "$uid" = 0 ] && ! are_root_s $names; then chown "$owner" $names || return 1; fi
  chmod "$mode" $names || return 1
  for each in $names; do keep_context "$below" "${each##*/}" "$each" || return 1; done
  # The list of where they lie goes first: after a power cut it must not know less than the disk.
  sync_path "$state/staging" $names
  [ "$(sha256sum $names)$lf" = "$sums" ] || { echo "short write: what arrived is not what was sent"; return 1; }
}

# index folder name, the product's check in base64 on stdin
run_check() {
  [ -z "$failed" ] || return 0
  check=$(base64 -d)
  scratch=$(mktemp -d "$state/check.XXXXXX") || { say "failed check $1 -"; failed=check; return; }
  limit=
  ! command -v timeout >/dev/null || limit='timeout -k 5 60'
  out=$({
    (enter_stage "$2" && exec $limit sh -c "$check" fleet-check "$here/new/$3" "$scratch") </dev/null 2>&1
    echo $? >"$scratch.status"
  } | head -c 4000)
  status=
  [ ! -f "$scratch.status" ] || read -r status <"$scratch.status"
  rm -rf "$scratch" "$scratch.status"
  say "checked $1 ${status:-none} $(blob "$out")"
  [ "$status" = 0 ] || failed=check
}

# seconds for which the lease outlives this script, until the switch takes over
stage_end() {
  if [ "$failed" = lock ]; then
    say failed
  elif [ -n "$failed" ]; then
    clean_stage
    for folder in $made; do rmdir "$root$folder"; done 2>/dev/null
    release_lock "$lease"
    say failed
  else
    renew_lock "$lease" "$1" wait
    say staged
  fi
  say end
}
