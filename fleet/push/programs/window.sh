# The window between the switch and its confirmation, seen from a new connection.

# token
window_report() {
  if is_armed "$1"; then
    if [ -e "$state/revert/decision" ]; then read -r decision <"$state/revert/decision"; else decision=armed; fi
    case $decision in revert) decision=reverting ;; esac
    say "window $decision -"
  elif read -r whose word more 2>/dev/null <"$state/reverted" && [ "$whose" = "$1" ]; then
    say "window $word $more"
  else
    say 'window none -'
  fi
}

# token: what was done stays
confirm_window() {
  begin
  trap '' PIPE HUP INT TERM
  if lock_begin 2>/dev/null && is_armed "$1" && decide confirm; then
    disarm
    release_lock "$1"
    say 'window confirmed -'
  else
    window_report "$1"
  fi
  say end
}

# token: the host is to go back now, by its own hand, and not by this connection's
revert_window() {
  begin
  trap '' PIPE HUP INT TERM
  if is_armed "$1" && [ ! -e "$state/revert/decision" ]; then
    if [ -n "$root" ] || ! "$systemctl" start --no-block "fleet-revert-$1.service" >/dev/null 2>&1 </dev/null; then
      sh "$state/revert/run" asked >/dev/null 2>&1 </dev/null &
    fi
  fi
  window_report "$1"
  say end
}
