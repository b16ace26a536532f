# Reads everything that a plan needs in one go and changes nothing.

send_left=8388608

observe_begin() {
  begin
  say "uid $uid"
  say "systemctl ${systemctl:+yes}"
  known=' '
  next=0
  sending=
  sends=
  sent=0
  own_units=
}

# index path digest-as-rendered of each: one look at all that are plain files, at anything else by itself
observe_files() {
  triples= names= count=0 format='%a %U:%G %h %s'
  # A plain user's folder that stands for a host cannot give files away: its owners say nothing.
  [ -z "$root" ] || [ "$uid" = 0 ] || format='%a - %h %s'
  while [ $# -ge 3 ]; do
    known="$known$2 "
    next=$(($1 + 1))
    if [ -f "$root$2" ] && [ ! -L "$root$2" ] && ! is_unsafe "$2"; then
      triples="$triples $1 $2 $3" names="$names .$2" count=$((count + 1))
    else
      observe_file "$1" "$2" "$3"
    fi
    shift 3
  done
  [ $count = 0 ] || observe_together
  send_contents
}

observe_together() {
  set -f
  set -- $triples $(cd -P "${root:-/}" && { sha256sum $names && stat -c "$format" $names; } 2>/dev/null)
  set +f
  if [ $# != $((count * 9)) ]; then
    while [ $count != 0 ]; do
      observe_file "$1" "$2" "$3"
      shift 3
      count=$((count - 1))
    done
    return
  fi
  at=0
  while [ $at -lt $count ]; do
    asked=$((3 * at)) sum=$((3 * count + 2 * at)) meta=$((5 * count + 4 * at)) at=$((at + 1))
    eval "tell_file \"\${$((asked + 1))}\" \"\${$((asked + 2))}\" \"\${$((asked + 3))}\" \"\${$((sum + 1))}\" \
      \"\${$((meta + 1))}\" \"\${$((meta + 2))}\" \"\${$((meta + 3))}\" \"\${$((meta + 4))}\""
  done
}

# index path digest-as-rendered
observe_file() {
  if is_unsafe "$2"; then
    say "file $1 unsafe"
    return
  fi
  target=$root$2
  if [ -L "$target" ]; then
    say "file $1 symlink"
  elif [ -f "$target" ]; then
    observe_content "$1" "$2" "$3"
  elif [ -d "$target" ]; then
    say "file $1 directory"
  elif [ -e "$target" ]; then
    say "file $1 other"
  elif is_hidden "$target"; then
    say "file $1 unreadable"
  else
    say "file $1 absent"
  fi
}

# Whether a folder above $1 keeps this user from seeing what is in it: then nothing there is "absent".
is_hidden() {
  above=${1%/*}
  while [ -n "$above" ] && [ "$above" != "$root" ] && [ ! -d "$above" ]; do above=${above%/*}; done
  [ -n "$above" ] && [ ! -x "$above" ]
}

observe_content() {
  meta=$(stat -c "$format" "$target") || { say "file $1 unreadable"; return; }
  digest=$(sha256sum 2>/dev/null <"$target") || { say "file $1 unreadable"; return; }
  digest=${digest%% *}
  tell_file "$1" "$2" "$3" "$digest" $meta
}

# index path digest-as-rendered digest mode owner links size: and its content, where that may be sent
tell_file() {
  say "file $1 file $5 $6 $7 $8 $4"
  [ "$4" != "$3" ] && [ "$7" = 1 ] && [ "$8" -le 1048576 ] && [ "$8" -le "$send_left" ] || return 0
  send_left=$((send_left - $8)) sent=$((sent + $8))
  sending="$sending,$1" sends="$sends .$2"
}

# The contents of several files as one: their sizes were told.
send_contents() {
  [ -n "$sending" ] || return 0
  printf 'contents %s ' "${sending#,}"
  if [ $sent -gt 65536 ]; then
    (cd -P "${root:-/}" && cat $sends 2>/dev/null) | base64 | tr -d '\n'
  else
    printf '%s' $( (cd -P "${root:-/}" && cat $sends 2>/dev/null) | base64)
  fi
  printf '\n'
  sending= sends= sent=0
}

# What is ours, and the files of ours that nobody asked for. A manifest as we write it is told line by line.
observe_manifest() {
  if [ -L "$state" ] || [ -L "$state/manifest" ]; then
    say 'manifest symlink'
  elif [ ! -e "$state/manifest" ]; then
    say 'manifest absent'
  elif [ ! -f "$state/manifest" ] || [ ! -r "$state/manifest" ]; then
    say 'manifest unreadable'
  else
    strange= others= lines=0
    while IFS= read -r line || { [ -n "$line" ] && strange=yes; }; do
      lines=$((lines + 1))
      case $line in *[!A-Za-z0-9._@+:,=~/' '-]*) strange=yes ;; esac
      [ -n "$strange" ] || [ $lines -gt 20000 ] || say "own $line"
      find_ours "$line"
    done <"$state/manifest"
    if [ -n "$strange" ] || [ $lines = 0 ] || [ $lines -gt 20000 ]; then
      printf 'manifest text '
      head -c 4194304 "$state/manifest" | base64 | tr -d '\n'
      printf '\n'
    else
      say 'manifest lines'
    fi
    for other in $others; do
      say "path $next $other"
      observe_files "$next" "$other" none
    done
  fi
  [ ! -e "$state/staging" ] && [ ! -e "$state/manifest.before" ] || say leftover
}

# a line of the manifest: files that nobody asked for, and units
find_ours() {
  case $1 in
    'file '*)
      path=${1##* }
      is_plain_path "$path" || return 0
      case "$known$others " in *" $path "*) ;; *) others="$others $path" ;; esac
      ;;
    'unit '*)
      unit=${1#unit }
      case $unit in '' | -* | *[!A-Za-z0-9:_.@-]*) ;; *) own_units="$own_units $unit" ;; esac
      ;;
  esac
}

observe_started() {
  for record in "$state"/started/*; do
    name=${record##*/}
    case $name in '*' | *[!A-Za-z0-9:_.@-]* | *.new) continue ;; esac
    read -r restart_token reload_token <"$record" 2>/dev/null || continue
    say "started $name $restart_token $reload_token"
  done
}

# index path
observe_folder() {
  if is_unsafe "$2"; then say "folder $1 unsafe"
  elif [ -d "$root$2" ]; then say "folder $1 directory"
  elif [ -L "$root$2" ]; then say "folder $1 symlink"
  elif [ -e "$root$2" ]; then say "folder $1 file"
  elif is_hidden "$root$2"; then say "folder $1 unreadable"
  else say "folder $1 absent"
  fi
}

# units to look at; those of the manifest come on top
observe_units() {
  [ -n "$systemctl" ] || return 0
  for unit in $own_units; do
    case " $* " in *" $unit "*) ;; *) set -- "$@" "$unit" ;; esac
  done
  for unit in "$@"; do
    shown=$("$systemctl" show --property=LoadState,ActiveState,UnitFileState,NeedDaemonReload,NRestarts \
      "$unit" </dev/null 2>&1)
    say "unit $unit $(blob "$shown")"
  done
}

# index name
observe_program() {
  case $2 in
    /*) [ -x "$root$2" ] || say "no-program $1" ;;
    *)
      for folder in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do
        [ ! -x "$root$folder/$2" ] || return 0
      done
      say "no-program $1"
      ;;
  esac
}

# index path: a Python for the relay, which needs 3.11
observe_python() {
  version=$("$root$2" -I -B -c 'import sys
print(*sys.version_info[:3], sep=".")
sys.exit(sys.version_info < (3, 11))' </dev/null 2>/dev/null) || say "no-python $1 $(blob "$version")"
}

# wanted units. A relay that would be removed is asked what its spool still holds; by its unit's own words, since
# nobody renders it any more.
observe_unwanted_relays() {
  for unit in $own_units; do
    case $unit in fleet-relay-*.service) ;; *) continue ;; esac
    case " $* " in *" $unit "*) continue ;; esac
    file=$root/etc/systemd/system/$unit
    [ -f "$file" ] && [ ! -L "$file" ] || continue
    command=$(sed -n 's/^ExecStart=\(.*\) run \(.*\)$/\1 left \2/p' "$file")
    left=$(sh -c "exec $command" </dev/null 2>&1) || say "undelivered $unit $(blob "${left:-it did not say}")"
  done
}

# list-file name: in /etc/passwd or /etc/group, or wherever the host's name service looks.
is_listed() {
  if [ -n "$root" ] && [ ! -f "$root/etc/$1" ]; then return 0; fi
  while IFS=: read -r listed rest; do
    [ "$listed" != "$2" ] || return 0
  done <"$root/etc/$1"
  [ -z "$root" ] && getent "$1" "$2" >/dev/null 2>&1
}

observe_user() { is_listed passwd "$2" || say "no-user $1"; }
observe_group() { is_listed group "$2" || say "no-group $1"; }

# Ports on which somebody listens, in hexadecimal: state 0A in /proc/net/tcp (proc(5)). The kernel lists them
# first, so the thousands of connections of a busy archive behind them are not read.
observe_listening() {
  [ -r "$root/proc/net/tcp" ] || return 0
  ports= table=yes
  IFS=$lf
  set -f
  for line in $(head -n 500 "$root/proc/net/tcp" "$root/proc/net/tcp6" 2>/dev/null); do
    unset IFS
    case $line in *==*) table=yes ;; esac
    [ -n "$table" ] || continue
    set -- $line # slot, local, remote, state
    case ${4-} in
      0A) ports="$ports ${2##*:}" ;;
      '' | st | [!0-9A-F]*) ;;
      *) table= ;;
    esac
  done
  unset IFS
  set +f
  say "listening$ports"
}

# ports in hexadecimal: how many connections are established on each (state 01 in proc_net_tcp): what a restart
# may cut. One grep for all of them, since the shell's own `read` takes a byte at a time.
observe_connections() {
  [ -r "$root/proc/net/tcp" ] && command -v grep >/dev/null || return 0
  wanted=$*
  found=$(grep -hoE ": [0-9A-F]+:($(echo "$wanted" | tr ' ' '|')) [0-9A-F]+:[0-9A-F]+ 01 " \
    "$root/proc/net/tcp" "$root/proc/net/tcp6" 2>/dev/null | cut -d ' ' -f 2)
  for port in $wanted; do
    number=0
    for each in $found; do [ "${each##*:}" != "$port" ] || number=$((number + 1)); done
    say "connections $port $number"
  done
}

observe_end() { say end; }
