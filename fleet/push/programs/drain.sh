# A member is out of its virtual services for the time of a change. What says so lies below /run and goes with a
# restart; a timer of the host's own ends it when nobody else does. See fleet/targets/drained.py for the paths.

drain_paths() {
  drain=$root/run/fleet-drain
  drained=$root/run/fleet-drained
  servers_file=/run/fleet-drain/haproxy-servers
  member_file=/run/fleet-drained
  haproxy_file=/etc/haproxy/haproxy.cfg
  keepalived_file=/etc/keepalived/keepalived.conf
}

drain_begin() {
  begin
  trap '' PIPE HUP INT TERM
  drain_paths
  failed=
  [ -d "$root/run" ] || mkdir "$root/run"
  [ -d "$drain" ] || mkdir -m 755 "$drain"
  if [ -L "$drain" ] || [ "$(stat -c %u "$drain")" != "$uid" ]; then refuse "$drain is not ours alone"; fi
}

refuse() {
  [ -n "$failed" ] || say "refused $(blob "$1")"
  failed=yes
}

has_timers() {
  [ -n "$root" ] || { [ -n "$systemctl" ] && [ -d /run/systemd/system ] && command -v systemd-run >/dev/null; }
}

# file: whether it is still as fleet wrote it, so that a reload brings nothing to life that somebody typed by hand
is_as_written() {
  [ -f "$root$1" ] && [ -f "$state/manifest" ] || return 1
  found=$(sha256sum <"$root$1")
  while read -r word digest mode owner path; do
    [ "$word" = file ] && [ "$path" = "$1" ] || continue
    [ "$digest" = "${found%% *}" ]
    return
  done <"$state/manifest"
  return 1
}

# member token seconds, then its partners: two of them are never out at once. The program that ends it is on stdin.
drain_claim() {
  member=$1 token=$2 seconds=$3
  shift 3
  program=$(base64 -d)
  [ -z "$failed" ] || return 0
  has_timers || { refuse 'the host has no systemd whose timers could end it'; return 0; }
  whose=
  read -r whose 2>/dev/null <"$drain/claim.$member"
  [ "$whose" != "$token" ] || return 0
  if grep -q "$servers_file" "$root$haproxy_file" 2>/dev/null && ! is_as_written "$haproxy_file"; then
    refuse "$haproxy_file was edited by hand, and a reload would bring that to life"
    return 0
  fi
  echo "$token" >"$drain/claim.$member.new" && mv -f "$drain/claim.$member.new" "$drain/claim.$member" \
    || { refuse 'nothing can be written below /run'; return 0; }
  # Whoever looks after he has written and sees nobody is alone; two who see each other both leave it.
  for partner in "$@"; do
    [ -e "$drain/claim.$partner" ] || continue
    read -r whose <"$drain/claim.$partner"
    rm -f "$drain/claim.$member"
    say "partner $partner $whose"
    failed=yes
    return 0
  done
  printf '%s\n' "$program" >"$drain/run.$member.$token" && drain_timer \
    || { refuse 'its timer cannot be started'; undrain "$member" "$token"; }
}

drain_timer() {
  if [ -z "$root" ]; then
    systemd-run --quiet --collect --unit="fleet-undrain-$token" --on-active="$seconds" \
      --timer-property=AccuracySec=100ms -- /bin/sh "$drain/run.$member.$token" </dev/null
    return
  fi
  sh -c 'while [ -e "$2" ]; do
      [ "$1" -gt 0 ] || exec sh "$2"
      sleep 1
      set -- $(($1 - 1)) "$2"
    done' fleet-timer "$seconds" "$drain/run.$member.$token" >/dev/null 2>&1 </dev/null &
}

# SERVICE/SERVER words: HAProxy sends them no new connections
drain_servers() {
  [ -z "$failed" ] || return 0
  for each in "$@"; do echo "${each%%/*} ${each#*/}"; done >"$drain/servers.$member"
}

# addresses that the health checks of this host report as down
drain_addresses() {
  [ -z "$failed" ] || return 0
  for each in "$@"; do echo "$member" >"$drain/address.$each"; chmod 644 "$drain/address.$each"; done
}

# The virtual address goes to a partner; told whether keepalived here knows that file at all.
drain_self() {
  [ -z "$failed" ] || return 0
  if grep -q "$member_file" "$root$keepalived_file" 2>/dev/null; then
    : >"$drain/self.$member"
    echo 1 >"$drained"
    say 'self yes'
  else
    say 'self no'
  fi
}

# HAProxy reads which servers are out at its reload; there is none where nothing changed.
drain_apply() {
  for list in "$drain"/servers.*; do
    [ ! -f "$list" ] || while read -r service server; do
      echo "0 $service 0 $server - 2 8 1 1 0 6 3 4 6 0 0 0 - 0 - 0 0 - - 0"
    done <"$list"
  done >"$drain/rows.new"
  if [ "$(cat "$drain/rows" 2>/dev/null)" = "$(cat "$drain/rows.new")" ]; then
    rm -f "$drain/rows.new"
    return 0
  fi
  if [ -s "$drain/rows.new" ]; then
    { echo 1; cat "$drain/rows.new"; } >"$drain/haproxy-servers.new" \
      && mv -f "$drain/haproxy-servers.new" "$drain/haproxy-servers"
  else
    rm -f "$drain/haproxy-servers"
  fi
  mv -f "$drain/rows.new" "$drain/rows"
  grep -q "$servers_file" "$root$haproxy_file" 2>/dev/null || return 0
  if out=$("$systemctl" reload haproxy.service 2>&1 </dev/null); then say reloaded; else say "broken $(blob "$out")"; fi
}

# member token: it serves again, unless somebody else took it out since
undrain() {
  whose=
  rm -f "$drain/run.$1.$2"
  read -r whose 2>/dev/null <"$drain/claim.$1" || return 0
  [ "$whose" = "$2" ] || return 0
  [ ! -e "$drain/self.$1" ] || rm -f "$drained"
  rm -f "$drain/servers.$1" "$drain/self.$1"
  for each in "$drain"/address.*; do
    [ -f "$each" ] && read -r out <"$each" && [ "$out" = "$1" ] && rm -f "$each"
  done
  drain_apply
  rm -f "$drain/claim.$1"
}

# member token, from fleet: and its timer is not needed any more
put_back_member() {
  undrain "$1" "$2"
  [ -n "$root" ] || [ -z "$systemctl" ] || "$systemctl" stop "fleet-undrain-$2.timer" >/dev/null 2>&1 </dev/null
}

# member token, from the timer
undrain_late() {
  begin
  trap '' PIPE HUP INT TERM
  drain_paths
  undrain "$1" "$2"
}

# What goes through: `here` are ports of the archive itself, `through` those of the virtual services (in
# hexadecimal); established connections are counted (state 01 in proc_net_tcp), a check from 127.* is none.
count_open() {
  cat "$root/proc/net/tcp" "$root/proc/net/tcp6" 2>/dev/null | grep -E ": [0-9A-F]+:($1) [0-9A-F]+:[0-9A-F]+ 01 " \
    | grep -vcE ': [0-9A-F]{6}7F:'
}

# word port...
look_open() {
  word=$1
  shift
  [ $# -gt 0 ] || return 0
  say "open $word $(count_open "$(echo "$*" | tr ' ' '|')")"
}

# Virtual addresses that this host holds: IPv4 as they are written, IPv6 as 32 digits (proc_net_if_inet6).
look_held() {
  held=
  for each in "$@"; do
    case $each in
      *.*) grep -A 1 -E "[|]-- $each\$" "$root/proc/net/fib_trie" 2>/dev/null | grep -q 'host LOCAL' && held="$held $each" ;;
      *) grep -q "^$each " "$root/proc/net/if_inet6" 2>/dev/null && held="$held $each" ;;
    esac
  done
  say "held$held"
}

drain_end() {
  [ -z "$failed" ] || say failed
  say end
}
