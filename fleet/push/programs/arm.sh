# The way back: everything that a host needs to be again as it was, kept on it in one folder before anything
# live changes, and a timer of its own that uses it unless somebody confirms. Made under another name and put
# in place by rename: a way back is complete or is not there. Nothing of it outlives its window.

boot_unit=/etc/systemd/system/fleet-revert.service
boot_link=/etc/systemd/system/multi-user.target.wants/fleet-revert.service

has_way_back() {
  [ -z "$root" ] || return 0
  [ -n "$systemctl" ] && [ -d /run/systemd/system ] && command -v systemd-run >/dev/null
}

# unit: active and enabled, as systemd says
state_of() {
  active=unknown enabled=-
  shown=$("$systemctl" show --property=ActiveState,UnitFileState "$1" 2>/dev/null </dev/null)
  while IFS='=' read -r key value; do
    case $key in
      ActiveState) active=$value ;;
      UnitFileState) enabled=${value:--} ;;
    esac
  done <<SHOWN
$shown
SHOWN
}

# token
arm_begin() {
  [ -z "$failed" ] || return 0
  token=$1
  new=$state/revert.new
  err=$(arm_begin_in 2>&1) || fail arm - "$err"
}

arm_begin_in() {
  [ ! -e "$new" ] || rm -rf "$new" || return 1
  mkdir -m 700 "$new" "$new/units" "$new/started" || return 1
  # A full disk must not keep anybody from deciding, nor from saying how it ended.
  put_line "$new/token" "$token" && put_line "$new/say.confirm" confirm \
    && put_line "$new/say.revert" revert && put_line "$new/reverted" "$token reverted -" \
    && put_line "$new/failed" "$token failed -" && put_line "$new/pid" "$$ $(begun_at $$)" || return 1
  # Who replaces a manifest does so by a rename.
  [ ! -f "$state/manifest" ] || ln "$state/manifest" "$new/manifest" 2>/dev/null || cp -p "$state/manifest" "$new/manifest"
}

arm_unit() {
  [ -z "$failed" ] && [ -n "$systemctl" ] || return 0
  state_of "$1"
  err=$(put_line "$new/units/$1" "$active $enabled" 2>&1) || fail arm - "$err"
}

arm_record() {
  [ -z "$failed" ] && [ -f "$state/started/$1" ] || return 0
  IFS= read -r line <"$state/started/$1"
  umask 022
  err=$(put_line "$new/started/$1" "$line" 2>&1) || fail arm - "$err"
  umask 077
}

# The manifest that names old and new files, given or on stdin: for a way back that does not succeed altogether.
arm_during() {
  [ -z "$failed" ] || return 0
  umask 022
  err=$(if [ $# = 0 ]; then cat >"$new/during"; else put_text "$new/during" "$1"; fi 2>&1) || fail arm - "$err"
  umask 077
}

# seconds, the program, which may be in base64 on stdin
arm_end() {
  [ -z "$failed" ] || return 0
  armed=yes
  err=$(arm_end_in "$@" 2>&1) && return 0
  fail arm - "$err"
  rm -rf "$new"
}

arm_end_in() {
  if [ $# -ge 2 ]; then put_text "$new/run" "$2"; else base64 -d >"$new/run"; fi \
    && [ "$(tail -n 1 "$new/run")" = 'exit 0' ] || { echo 'short write'; return 1; }
  sync_path "$new/run" && mv -f "$new" "$state/revert" || return 1
  if [ -z "$root" ]; then put_boot_unit; else sync_path "$state"; fi || return 1
  start_timer "$1"
}

put_boot_unit() {
  [ -d "${boot_link%/*}" ] || mkdir -p "${boot_link%/*}" || return 1
  put_line "$boot_unit" "[Unit]
Description=fleet: put back what nobody confirmed before this restart
After=multi-user.target
ConditionPathExists=$state/revert/run
[Service]
Type=oneshot
ExecStart=/bin/sh $state/revert/run boot" \
    && ln -sf "$boot_unit" "$boot_link" && sync_path "$state" "${boot_link%/*}" "${boot_unit%/*}"
}

start_timer() {
  if [ -z "$root" ]; then
    # Without AccuracySec systemd may be a minute late (systemd.timer(5)).
    systemd-run --quiet --collect --unit="fleet-revert-$token" --on-active="$1" \
      --timer-property=AccuracySec=100ms -- /bin/sh "$state/revert/run" timer </dev/null
    return
  fi
  # A program of its own: a mere subshell would hold the connection's streams open.
  sh -c 'while read -r whose 2>/dev/null <"$2/token" && [ "$whose" = "$1" ]; do
      [ "$3" -gt 0 ] || exec sh "$2/run" timer
      sleep 1
      set -- "$1" "$2" $(($3 - 1))
    done' fleet-timer "$token" "$state/revert" "$1" >/dev/null 2>&1 </dev/null &
}

# token: whether this run's way back is there
is_armed() {
  read -r whose 2>/dev/null <"$state/revert/token" && [ "$whose" = "$1" ]
}

# word: confirm or revert, whoever comes first; 0 when it is that one. link(2) lets only one in.
decide() {
  ln "$state/revert/say.$1" "$state/revert/decision" 2>/dev/null
  read -r decision 2>/dev/null <"$state/revert/decision" && [ "$decision" = "$1" ]
}

# The window is over.
disarm() {
  armed=
  token=
  read -r token 2>/dev/null <"$state/revert/token"
  clean_stage "$state/revert/staging"
  # What could not be removed now is left to the next run.
  [ ! -f "$state/revert/staging" ] || cat "$state/revert/staging" >>"$state/staging"
  [ ! -e "$state/revert.done" ] || rm -rf "$state/revert.done"
  set -- "$state/revert.done"
  [ -n "$root" ] || set -- "$@" "$boot_link" "$boot_unit"
  mv -f "$state/revert" "$state/revert.done" 2>/dev/null && rm -rf "$@"
  [ -n "$root" ] || [ -z "$token" ] || "$systemctl" stop "fleet-revert-$token.timer" >/dev/null 2>&1 </dev/null
}
