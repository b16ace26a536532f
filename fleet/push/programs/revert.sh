# The way back itself. It lies on the host and is run by the host's timer, at boot, by whoever applies next, or
# because fleet asks. Every part looks first, so that it may be killed anywhere and run again.

# token owner
revert_begin() {
  begin >/dev/null
  trap '' PIPE HUP INT
  failed=
  broken=
  deaf=
  is_armed "$1" || exit 0
  token=$1
  lease=${FLEET_LEASE:-$1}
  lock_begin 2>/dev/null || lease=
  # Somebody else who is at work settles this himself: wait until he is done, and look again.
  while [ -n "$lease" ]; do
    take_lock "$lease" "$lock_ttl" "$2"
    [ $? = 1 ] || break
    sleep 1
    is_armed "$token" || exit 0
  done
  is_armed "$token" || { end_lease; exit 0; }
  if ! decide revert && [ "${decision-}" = confirm ]; then
    disarm
    end_lease
    say "$token confirmed"
    exit 0
  fi
  go_alone
  stop_switch
}

# The timer and whoever asks may come together: one goes, the other waits for him.
go_alone() {
  echo "$$ $(begun_at $$)" >"$state/revert/running.$$"
  until ln "$state/revert/running.$$" "$state/revert/running" 2>/dev/null; do
    pid= began=
    read -r pid began 2>/dev/null <"$state/revert/running"
    while [ -n "$pid" ] && [ "$(begun_at "$pid")" = "$began" ]; do sleep 1; done
    is_armed "$token" || { cat "$state/reverted"; exit 0; }
    rm -f "$state/revert/running"
  done
  rm -f "$state/revert/running.$$"
}

end_lease() { [ -n "${FLEET_LEASE-}" ] || [ -z "$lease" ] || release_lock "$lease"; }

# A switch that is still under way (a handler that hangs) goes no further.
stop_switch() {
  read -r pid began 2>/dev/null <"$state/revert/pid" || return 0
  [ "$pid" != $$ ] && [ "$(begun_at "$pid")" = "$began" ] || return 0
  kill -STOP "$pid"
  for stat in /proc/[0-9]*/stat; do
    read -r line 2>/dev/null <"$stat" || continue
    child=${line%% *}
    set -- ${line##*) }
    [ "$2" != "$pid" ] || [ "$child" = $$ ] || kill -9 "$child"
  done
  kill -9 "$pid"
  sleep 1
} 2>/dev/null

note() { failed="${failed:+$failed; }$1"; }

# unit: what did not run, or was not enabled, no longer does, while its unit file is still there
quit_unit() {
  [ -n "$systemctl" ] && read -r was_active was_enabled 2>/dev/null <"$state/revert/units/$1" || return 0
  state_of "$1"
  case $was_enabled in enabled*) ;; *)
    case $enabled in enabled*) "$systemctl" disable "$1" ;; esac ;;
  esac >/dev/null 2>&1 </dev/null
  case $was_active in inactive | failed)
    case $active in inactive | unknown) ;; *) "$systemctl" stop "$1"; "$systemctl" reset-failed "$1" ;; esac ;;
  esac >/dev/null 2>&1 </dev/null
}

# folder name digest|absent mode owner
back_file() {
  [ "$(look_at "$1" "$2" 2>/dev/null)" != "$3 $4 $5" ] || return 0
  if [ "$3" = absent ]; then
    [ -d "$root${1:-/}" ] || return 0
    (enter_folder "$1" && rm -f "./$2" && sync_path .) || note "$1/$2"
  elif err=$(back_file_in "$@" 2>&1) && [ "$(look_at "$1" "$2" 2>&1)" = "$3 $4 $5" ]; then
    say "back $1/$2"
  else
    note "$1/$2 ($err)"
  fi
}

# The old file itself waits beside the new one and needs no space; else there is a copy.
back_file_in() {
  enter_folder "$1" || return 1
  [ -d ./.fleet-stage ] || mkdir -m 700 ./.fleet-stage || return 1
  enter_stage "$1" || return 1
  rm -rf ./back && mkdir ./back || return 1
  if holds "./old/$2" "$3"; then
    ln "./old/$2" "./back/$2" || return 1
  elif holds "$state/previous$1/$2" "$3"; then
    cp -p "$state/previous$1/$2" "./back/$2" && keep_context "$1" "$2" "./back/$2" && sync_path "./back/$2" || return 1
  else
    echo 'what it held before is nowhere'
    return 1
  fi
  # An owner who is no user of the host any more cannot be named, but is still there.
  [ "$uid" != 0 ] || [ "$5" = - ] || [ "$(stat -c %U:%G "./back/$2")" = "$5" ] || chown "$5" "./back/$2" || return 1
  chmod "$4" "./back/$2" || return 1
  # mv(1) refuses two names of one file, which is what a run that was killed here leaves.
  [ "./back/$2" -ef "../$2" ] || mv -f "./back/$2" "../$2" || return 1
  rm -rf ./back
  cd -P .. && sync_path .
}

holds() {
  found=$(sha256sum 2>/dev/null <"$1") || return 1
  [ "${found%% *}" = "$2" ]
}

# The files are back, or lie below previous/ too.
clean_staged() {
  clean_stage "$state/revert/staging"
  clean_stage
  rm -rf "$state/manifest.before" "$state"/was-started/*
}

# path: a folder that this run made, while it is empty
back_folder() { rmdir "$root$1" 2>/dev/null; }

# unit or handler: with which files it was last started; after a failure nobody knows, and it is owed
back_record() {
  if [ -n "$failed" ]; then rm -f "$state/started/$1"
  else put_back "$state/revert/started/$1" "$state/started/$1"
  fi
}

# After a failure some files are old and some new: all of them stay known as ours.
back_manifest() {
  if [ -z "$failed" ]; then put_back "$state/revert/manifest" "$state/manifest"
  elif [ -f "$state/revert/during" ]; then put_back "$state/revert/during" "$state/manifest"
  fi
}

# A link and a rename need no space. Tried twice: what one of our tools was killed at is not given up for that.
put_back() {
  if [ ! -f "$1" ]; then rm -f "$2.new" "$2" || rm -f "$2.new" "$2" || note "$2"
  else put_link "$1" "$2" || put_link "$1" "$2" || { rm -f "$2.new"; note "$2"; }
  fi
}

# mv(1) refuses two names of one file.
put_link() {
  [ ! -e "$2.new" ] || rm -f "$2.new"
  [ "$1" -ef "$2" ] || { ln "$1" "$2.new" && mv -f "$2.new" "$2"; } || return 1
  rm -f "$2.new"
} 2>/dev/null

read_units_again() { [ -z "$systemctl" ] || "$systemctl" daemon-reload >/dev/null 2>&1 </dev/null; }

# unit restart|reload|start: it serves again as it did, by the old files
wake_unit() {
  [ -n "$systemctl" ] && read -r was_active was_enabled 2>/dev/null <"$state/revert/units/$1" || return 0
  state_of "$1"
  case $was_enabled in enabled*)
    case $enabled in enabled*) ;; *) "$systemctl" enable "$1" ;; esac ;;
  esac >/dev/null 2>&1 </dev/null
  case $was_active in inactive | failed | unknown) return 0 ;; esac
  case $2 in
    reload) [ "$active" = active ] && "$systemctl" reload "$1" || wake_anew "$1" ;;
    start) [ "$active" = active ] || wake_anew "$1" ;;
    *) wake_anew "$1" ;;
  esac >/dev/null 2>&1 </dev/null
  state_of "$1"
  [ "$active" = active ] || [ "$was_active" != active ] || broken="${broken:+$broken; }$1 is $active"
}

wake_anew() {
  "$systemctl" reset-failed "$1"
  "$systemctl" restart "$1"
}

# the team's command on stdin: once more, over the old files. One that fails there too is told, but takes nothing back.
handle_again() {
  command=$(base64 -d)
  # One that hangs would keep the host locked.
  limit=
  ! command -v timeout >/dev/null 2>&1 || limit='timeout -k 5 60'
  $limit sh -c "$command" >/dev/null 2>&1 </dev/null || deaf="${deaf:+$deaf; }$command"
}

revert_end() {
  if [ -n "$failed$broken" ]; then
    word="failed $(blob "$failed${failed:+${broken:+; }}$broken")"
    echo "$token $word" >"$state/reverted.new" || word='failed -'
    [ -s "$state/reverted.new" ] || ln -f "$state/revert/failed" "$state/reverted.new"
  else
    word="reverted $(blob "$deaf")"
    rm -f "$state/reverted.new"
    # A full disk must not keep it from being told.
    [ -n "$deaf" ] && echo "$token $word" >"$state/reverted.new" || word='reverted -'
    [ -s "$state/reverted.new" ] || ln -f "$state/revert/reverted" "$state/reverted.new" \
      || ln -f "$state/revert/reverted" "$state/reverted.new"
  fi 2>/dev/null
  # mv(1) may leave both of two names of one file, which is what a run that was killed after this makes them.
  mv -f "$state/reverted.new" "$state/reverted" || mv -f "$state/reverted.new" "$state/reverted"
  [ ! -e "$state/reverted.new" ] || rm -f "$state/reverted.new"
  disarm
  end_lease
  say "$token $word"
}
