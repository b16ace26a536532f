# Puts staged files in place by rename, then runs each handler once. Whoever cuts the line from here on does
# not stop it: the signals of a dying connection are ignored. If it is killed all the same, the manifest on
# disk already names old and new files, and units without a `started` record owe their restart.

# lease
switch_begin() {
  begin
  trap '' PIPE HUP INT TERM
  lease=$1
  armed=
  switched=
  lost=
  failed=
  broken=
  undo=
  folders=
  stopped=
  kept=
  outside=$PWD
  inside=
  spent=
  lock_begin 2>/dev/null && renew_lock "$lease" "$lock_ttl" && return 0
  say_lease lost
  failed=lock
}

fail() {
  say "failed $1 $2 $(blob "$3")"
  failed=$1
}

# folder, then index name digest|absent mode owner staged|- of each: live files are what the plan saw, and staged ones
# are still those that were checked, or nothing happens.
expect_files() {
  [ "$failed" != lock ] || return 0
  folder=$1
  shift
  are_as_planned "$folder" "$@" 2>/dev/null && return 0
  inside=
  for each in live staged; do expect_each "$each" "$@"; done
}

# We stay in the stage of the folder, held by its inode.
are_as_planned() {
  inside=
  step_into_stage "$1" && is_ours . || return 1
  entered=$1/
  shift
  names= news= sums= newsums= metas= format='%a %U:%G'
  [ -z "$root" ] || [ "$uid" = 0 ] || format='%a -'
  while [ $# -ge 6 ]; do
    [ ! -L "../$2" ] || return 1
    if [ "$3" = absent ]; then
      [ ! -e "../$2" ] || return 1
    else
      [ -f "../$2" ] || return 1
      names="$names ../$2" sums="$sums$3  ../$2$lf" metas="$metas$4 $5$lf"
    fi
    [ "$6" = - ] || news="$news ./new/$2" newsums="$newsums$6  ./new/$2$lf"
    shift 6
  done
  found=$(stat -c "$format" . $names)$lf
  case $found in '700 '* | '2700 '*) ;; *) return 1 ;; esac
  [ "${found#*"$lf"}" = "$metas" ] || return 1
  [ -z "$names$news" ] || [ "$(sha256sum $names $news)$lf" = "$sums$newsums" ] || return 1
  inside=$entered
}

# live|staged, then index name digest|absent mode owner staged|- of each
expect_each() {
  which=$1
  shift
  while [ $# -ge 6 ]; do
    case $which in
      live) expect_file "$1" "$folder" "$2" "$3" "$4" "$5" ;;
      *) [ "$6" = - ] || expect_one_staged "$1" "$folder" "$2" "$6" ;;
    esac
    shift 6
  done
}

# folder: into its stage and there to stay; who is in it holds it
hold_stage() {
  [ "$inside" != "$1/" ] || return 0
  inside=
  enter_stage "$1" || return 1
  inside=$1/
}

# index folder name digest|absent mode owner
expect_file() {
  found=$(look_at "$2" "$3" 2>&1)
  [ "$found" = "$4 $5 $6" ] || { say "stale $1 $(blob "$found")"; failed=stale; }
}

# index folder name digest
expect_one_staged() {
  [ -z "$failed" ] || return 0
  arrived=$( (enter_stage "$2" && sha256sum <"./new/$3") 2>&1)
  [ "${arrived%% *}" = "$4" ] || fail restaged "$1" "$arrived"
}

# folder, then index name keep-original of each: old files stay at hand for a way back, and copies for people.
keep_files() {
  [ -z "$failed" ] || return 0
  folder=$1
  shift
  keep_together "$folder" "$@" 2>/dev/null && return 0
  while [ $# -ge 3 ]; do
    keep_file "$1" "$folder" "$2" "$3"
    shift 3
  done
}

keep_together() {
  hold_stage "$1" || return 1
  [ -d ./old ] || mkdir ./old || return 1
  place=$state/previous$1
  shift
  lives= olds= plains=
  while [ $# -ge 3 ]; do
    if [ -e "../$2" ]; then
      [ "$3" = - ] && [ ! -e "./old/$2" ] || return 1
      lives="$lives ../$2" olds="$olds ./old/$2" plains="$plains ./$2"
    fi
    shift 3
  done
  [ -n "$lives" ] || return 0
  ln $lives ./old || return 1
  [ -d "$place/.new" ] || mkdir -p "$place/.new" || return 1
  cp -p $olds "$place/.new" && (cd -P "$place/.new" && mv -f $plains ..)
}

enter_old() {
  enter_folder "$1" || return 1
  [ -d ./.fleet-stage ] || mkdir -m 700 ./.fleet-stage || return 1
  enter_stage "$1" || return 1
  [ -d ./old ] || mkdir ./old
}

# index folder name keep-original
keep_file() {
  [ -z "$failed" ] || return 0
  err=$(keep_file_in "$@" 2>&1) || fail keep "$1" "$err"
}

keep_file_in() {
  enter_old "$2" || return 1
  [ -e "../$3" ] || return 0
  [ ! -e "./old/$3" ] || rm -f "./old/$3" || return 1
  ln "../$3" "./old/$3" 2>/dev/null || { cp -p "../$3" "./old/$3" && keep_context "$2" "$3" "./old/$3"; } || return 1
  keep_copy "previous$2" "$3" "$3" || return 1
  [ "$4" = keep ] || return 0
  copy=$3
  if [ -e "$state/originals$2/$3" ]; then
    digest=$(sha256sum <"./old/$3")
    copy=$3.${digest%"${digest#????????????}"}
  fi
  keep_copy "originals$2" "$copy" "$3"
}

# folder-in-state name-there name-in-./old
keep_copy() {
  [ -d "$state/$1" ] || mkdir -p "$state/$1" || return 1
  cp -p "./old/$3" "$state/$1/.$2.new" && mv -f "$state/$1/.$2.new" "$state/$1/$2"
}

# The manifest, given or on stdin, replaces the one on disk.
put_manifest() {
  [ -z "$failed" ] || return 0
  err=$(put_manifest_in "$@" 2>&1) || fail manifest - "$err"
}

put_manifest_in() {
  [ ! -e "$state/manifest.new" ] || rm -f "$state/manifest.new" || return 1
  umask 022
  if [ $# = 0 ]; then cat >"$state/manifest.new"; else put_text "$state/manifest.new" "$1"; fi || return 1
  sync_path "$state/manifest.new"
  mv -f "$state/manifest.new" "$state/manifest" && sync_path "$state"
}

keep_manifest() {
  [ -z "$failed" ] || return 0
  [ ! -e "$state/manifest.before" ] || rm -rf "$state/manifest.before" "$state"/was-started/*
  if [ ! -f "$state/manifest" ]; then
    kept=none
  elif [ -n "$armed" ]; then
    kept=armed
  elif ln "$state/manifest" "$state/manifest.before" 2>/dev/null || cp -p "$state/manifest" "$state/manifest.before"; then
    kept=yes
  else
    fail manifest - 'cannot keep the old one'
  fi
}

# units and handlers: until they have been started with the new files, nothing says that they were.
forget_started() {
  [ -z "$failed" ] || return 0
  [ -d "$state/was-started" ] || mkdir -p "$state/was-started" || { fail record - was-started; return; }
  for each in "$state"/was-started/*; do
    [ ! -e "$each" ] || { rm -f "$state"/was-started/*; break; }
  done
  forgotten=$*
  set --
  for each in $forgotten; do [ ! -e "$state/started/$each" ] || set -- "$@" "$state/started/$each"; done
  [ $# = 0 ] || mv -f "$@" "$state/was-started/" || fail record - "$forgotten"
}

# folder, then index name of each
rename_files() {
  [ -z "$failed" ] || return 0
  folder=$1
  shift
  together=
  ! rename_together "$folder" "$@" 2>/dev/null || together=yes
  # What has left the stage is in its place; what has not is tried alone, and says why it cannot.
  left=
  while [ $# -ge 2 ]; do
    if [ -n "$together" ] || (is_renamed "$folder" "$2") 2>/dev/null; then note_renamed "$1" "$folder" "$2"
    else left="$left $1 $2"
    fi
    shift 2
  done
  set -- $left
  while [ $# -ge 2 ]; do
    rename_file "$1" "$folder" "$2"
    shift 2
  done
}

rename_together() {
  hold_stage "$1" || return 1
  shift
  names=
  while [ $# -ge 2 ]; do
    [ ! -d "../$2" ] || return 1
    names="$names ./new/$2"
    shift 2
  done
  mv -f $names ..
}

is_renamed() { enter_stage "$1" && [ ! -e "./new/$2" ]; }

note_renamed() {
  undo="$2/ $3 $undo"
  case " $folders" in *" $2/ "*) ;; *) folders="$2/ $folders" ;; esac
  say "renamed $1"
}

# index folder name
rename_file() {
  [ -z "$failed" ] || return 0
  if err=$(rename_file_in "$@" 2>&1); then
    note_renamed "$1" "$2" "$3"
  else
    fail rename "$1" "$err"
  fi
}

rename_file_in() {
  enter_stage "$2" || return 1
  [ ! -d "../$3" ] || { echo "$2/$3 is a folder"; return 1; }
  move=
  case $(mv --help 2>&1) in *-T*) move=-T ;; esac
  mv -f $move "./new/$3" "../$3"
}

# index folder name
remove_file() {
  [ -z "$failed" ] || return 0
  if err=$( (enter_stage "$2" && [ -e "./old/$3" ] && rm -f "../$3") 2>&1); then
    undo="$2/ $3 $undo"
    folders="$2/ $folders"
    say "removed $1"
  else
    fail remove "$1" "$err"
  fi
}

# After the last rename: make it last, or put everything back.
settle_files() {
  [ "$failed" != lock ] || return 0
  if [ -n "$failed" ]; then
    roll_back
    return
  fi
  for folder in $folders; do
    if [ "$inside" = "$folder" ]; then sync_path ..; else (enter_folder "${folder%/}" && sync_path .); fi
  done
  spent=yes
  switched=yes
  say switched
}

roll_back() {
  set -- $undo
  lost=
  while [ $# -ge 2 ]; do
    (
      enter_stage "${1%/}" || exit 1
      if [ -e "./old/$2" ]; then mv -f "./old/$2" "../$2"; else rm -f "../$2"; fi
    ) || lost="$lost $1$2"
    shift 2
  done
  for folder in $folders; do (enter_folder "${folder%/}" && sync_path .); done
  # A file that could not be put back stays known as ours.
  [ -z "$lost" ] || kept=
  case $kept in
    yes) mv -f "$state/manifest.before" "$state/manifest" ;;
    armed) ln "$state/revert/manifest" "$state/manifest.before" && mv -f "$state/manifest.before" "$state/manifest" ;;
    none) rm -f "$state/manifest" ;;
  esac
  for record in "$state"/was-started/*; do
    [ ! -f "$record" ] || mv -f "$record" "$state/started/"
  done
  rm -rf "$state"/was-started/*
  for unit in $stopped; do "$systemctl" enable "$unit"; "$systemctl" start "$unit"; done >/dev/null 2>&1 </dev/null
  say "rolled-back $(blob "$lost")"
}

# index name restart-token reload-token verb...: one unit; recorded when it worked and there is what to record.
run_unit() {
  [ -z "$failed" ] || return 0
  index=$1 name=$2 restart_token=$3 reload_token=$4
  shift 4
  # A unit that failed too often refuses to start; whoever applies has looked at it.
  case $1 in start | restart) "$systemctl" reset-failed "$name" >/dev/null 2>&1 </dev/null ;; esac
  if [ "$name" = - ]; then
    out=$("$systemctl" "$@" 2>&1 </dev/null)
  else
    out=$("$systemctl" "$@" "$name" 2>&1 </dev/null)
  fi
  status=$?
  say "ran $index $status $(blob "$out")"
  if [ "$status" != 0 ]; then
    broken=yes
  elif [ "$restart_token" != none ]; then
    record_started "$name" "$restart_token" "$reload_token"
  fi
}

# index unit
stop_unit() {
  [ -z "$failed" ] || return 0
  out=$("$systemctl" disable --now "$2" 2>&1 </dev/null)
  status=$?
  say "ran $1 $status $(blob "$out")"
  stopped="$2 $stopped"
  [ "$status" = 0 ] || fail stop "$1" "$out"
}

# A record that did not get whole is no token that anybody asks for: its unit owes a start.
record_started() {
  [ ! -e "$state/started/$1" ] || rm -f "$state/started/$1"
  umask 022
  printf '%s %s\n' "$2" "$3" >"$state/started/$1"
  umask 077
} 2>/dev/null

# index name token, the command, which may be in base64 on stdin
run_handler() {
  [ -z "$failed" ] || return 0
  if [ $# -ge 4 ]; then command=$4; else command=$(base64 -d); fi
  out=$( (cd "$outside" || cd /; trap - PIPE HUP INT TERM; exec sh -c "$command") 2>&1 </dev/null)
  status=$?
  say "ran $1 $status $(blob "$out")"
  if [ "$status" = 0 ]; then record_started "$2" "$3" "$3"; else broken=yes; fi
}

# seconds for which the lease outlives this script while it waits to be confirmed
switch_end() {
  if [ -n "$armed" ] && { [ -z "$failed" ] || [ -n "$switched$lost" ]; }; then
    # Old files wait beside the new ones; the list of where goes with the rest of the way back.
    mv -f "$state/staging" "$state/revert/staging"
    rm -rf "$state/revert/pid" "$state"/was-started/*
    renew_lock "$lease" "$1" wait
    say armed
  else
    [ -z "$armed" ] || disarm
    [ "$failed" = lock ] || clean_stage
    release_lock "$lease"
  fi
  if [ -n "$failed" ]; then say failed
  elif [ -n "$broken" ]; then say broken
  else say switched-all
  fi
  say end
}
