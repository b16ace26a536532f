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

# run lease owner: what a run that is over left here is brought to its end: a window that nobody will confirm is
# undone, staged files go, its lease is given back. A script of it that still runs is waited for by whoever asks.
settle_run() {
  begin
  trap '' PIPE HUP INT TERM
  lease=$2
  lock_begin 2>/dev/null || { say settled nothing -; say end; return; }
  read_clock
  find_lease
  if ! is_free; then
    case $id in "$1".*) [ "${holder:--}" != - ] || release_lock "$id" ;; esac
  fi
  if ! take_lock "$lease" "$lock_ttl" "$3" 2>/dev/null; then
    say_lease locked
    say end
    return
  fi
  word=nothing said=
  if [ -d "$state/revert" ] && [ ! -L "$state" ]; then
    said=$(FLEET_LEASE=$lease sh "$state/revert/run" settle </dev/null 2>&1)
    word=undone
    case $said in *' confirmed') word=confirmed ;; esac
  fi
  if [ -f "$state/staging" ] && [ ! -L "$state" ]; then
    clean_stage
    [ "$word" != nothing ] || word=cleaned
  fi
  release_lock "$lease"
  say "settled $word $(blob "$said")"
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
