# One apply at a time on a host: a lease, counted in seconds of this host's own uptime, so that no two clocks
# are ever compared. It lives below /run, which a restart empties. Generations only grow while a lease stands:
# link(2) makes the next one whole or not at all, so of many who try one wins; whoever finds a higher one than
# his own has lost. A script that works under a lease is its own heartbeat: while its process lives the lease stands,
# and when it is killed the lease is free.

lock_ttl=30

lock_begin() {
  lock=$root/run/fleet
  [ -d "$root/run" ] || [ -z "$root" ] || mkdir "$root/run"
  [ -d "$root/run" ] || lock=$state/run
  boot=-
  read -r boot </proc/sys/kernel/random/boot_id || boot=-
  [ -d "$lock" ] || mkdir -p "$lock" || return 1
  [ ! -L "$lock" ] || { echo "$lock is a symbolic link"; return 1; }
  is_ours "$lock" || { echo "$lock belongs to somebody else"; return 1; }
}

# When process $1 began, in ticks since boot: field 22 of proc_pid_stat(5). Numbers of processes come again, and one
# that is dead keeps its number until somebody has asked how it ended.
find_birth() {
  birth=
  read -r line 2>/dev/null <"/proc/$1/stat" || return 1
  set -- ${line##*) }
  case $1 in Z | X) return 1 ;; esac
  shift 19
  birth=$1
}

begun_at() { find_birth "$1" && printf '%s' "$birth"; }

read_clock() {
  clock=/proc/uptime
  [ -z "$root" ] || [ ! -r "$root/proc/uptime" ] || clock=$root/proc/uptime
  read -r now rest <"$clock"
  now=${now%%.*}
}

# The highest lease: generation, id, since, renewed, ttl, owner; generation is 0 where there is none. `holder`
# is the process that works under it, `-` while the host waits for fleet's next word.
find_lease() {
  generation=0
  for each in "$lock"/lease.*; do
    number=${each##*.}
    case $number in '' | *[!0-9]*) continue ;; esac
    [ "$number" -le "$generation" ] || generation=$number
  done
  id= owner=-
  [ "$generation" = 0 ] \
    || read -r id lease_boot since renewed ttl owner holder began rest 2>/dev/null <"$lock/lease.$generation"
}

# A lease that nobody renews any more, of an earlier boot, of a process that was killed, or given back.
is_free() {
  [ "$generation" != 0 ] || return 0
  case $id in '' | free) return 0 ;; esac
  [ "$lease_boot" = "$boot" ] || return 0
  if [ "${holder:--}" != - ]; then
    find_birth "$holder"
    [ "$birth" = "$began" ] || return 0
    [ -z "$began" ] || { renewed=$now; return 1; }
  fi
  [ $((now - renewed)) -gt "$ttl" ]
}

# id seconds owner: 0 when it is ours now, 1 when somebody else holds it, 2 when it cannot be written.
take_lock() {
  tries=0
  while [ $tries -lt 50 ]; do
    tries=$((tries + 1))
    read_clock
    find_lease
    if [ "$id" = "$1" ]; then
      ! renew_lock "$1" "$2" || return 0
      continue
    fi
    is_free || return 1
    mine=$lock/lease.$((generation + 1))
    find_birth $$
    put_line "$lock/take.$$" "$1 $boot $now $now $2 $3 $$ $birth" || return 2
    if ln "$lock/take.$$" "$mine" 2>/dev/null; then
      find_lease
      if [ "$lock/lease.$generation" = "$mine" ]; then
        set -- "$lock/take.$$"
        for each in "$lock"/lease.*; do [ "$each" = "$mine" ] || set -- "$@" "$each"; done
        rm -f "$@"
        return 0
      fi
      rm -f "$mine" "$lock/take.$$"
    fi
  done
  rm -f "$lock/take.$$"
  return 2
}

# id seconds [wait]: heard of now. Only a lease that has not run out is written over; one that has is taken anew.
renew_lock() {
  read_clock
  find_lease
  [ "$id" = "$1" ] || return 1
  find_birth $$
  working="$$ $birth"
  [ "${3-}" != wait ] || working='- -'
  printf '%s %s %s %s %s %s %s\n' "$1" "$boot" "$since" "$now" "$2" "$owner" "$working" >"$lock/beat.$$" || return 1
  if is_free; then
    ln "$lock/beat.$$" "$lock/lease.$((generation + 1))" 2>/dev/null || return 1
    rm -f "$lock/beat.$$"
  else
    mv -f "$lock/beat.$$" "$lock/lease.$generation"
  fi
}

# id: given back; nothing stays behind that says otherwise.
release_lock() {
  find_lease
  # In its place: empty, as it is for a moment, means the same.
  [ "$id" != "$1" ] || echo free >"$lock/lease.$generation"
}

# Who holds it: id, seconds since it was taken, since it was last renewed, until it runs out, owner, and whether a
# script of his runs here now or the host waits for his next word.
say_lease() {
  read_clock
  find_lease
  if is_free; then say "$1 free"
  else
    doing=working
    [ "${holder:--}" != - ] || doing=waiting
    say "$1 $id $((now - since)) $((now - renewed)) $((renewed + ttl - now)) $owner $doing"
  fi
}

report_lock() {
  begin
  if lock_begin 2>/dev/null; then say_lease lease; else say 'lease free'; fi
  say end
}

# id: broken only while it is still the one that was shown.
break_lock() {
  begin
  lock_begin 2>/dev/null
  say_lease lease
  find_lease
  if [ "$id" = "$1" ]; then
    release_lock "$1"
    say broken
  fi
  [ ! -d "$state/revert" ] || say armed
  say end
}
