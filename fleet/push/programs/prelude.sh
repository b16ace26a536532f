# POSIX sh and coreutils only; whatever is done to many files is done by one process for all of them, and only
# when that fails by one for each, to say which and why: on a host of one core processes are what a change costs.
# dash, bash and busybox ash run it. What follows defines functions; the last
# line of a script calls them. A script that was cut off on its way therefore does nothing at all.
# FLEET_ROOT is empty on real hosts (sudo drops it); a folder that stands for a host sets it.

begin() {
  set -u
  umask 077
  unset IFS
  LC_ALL=C
  PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  export LC_ALL PATH
  root=
  [ -z "${FLEET_ROOT-}" ] || root=$(cd -P "$FLEET_ROOT" && pwd -P) || exit 71
  state=$root/var/lib/fleet
  lf='
'
  find_uid
  systemctl=
  if [ -n "$root" ]; then
    [ ! -x "$root/usr/bin/systemctl" ] || systemctl=$root/usr/bin/systemctl
  else
    systemctl=$(command -v systemctl) || systemctl=
  fi
  # Where SELinux is off nobody asks for contexts. A folder that stands for a host may have them.
  selinux=
  if [ -n "$root" ] || [ -d /sys/fs/selinux ]; then selinux=yes; fi
  printf 'fleet-host 1\n'
  lacks=
  for tool in base64 cat chmod chown cp head id ln mkdir mktemp mv rm rmdir sha256sum sleep stat sync tail tr; do
    command -v "$tool" >/dev/null 2>&1 || lacks="$lacks $tool"
  done
  [ -z "$lacks" ] || { printf 'lacks%s\nend\n' "$lacks"; exit 0; }
}

# Who we are in effect (proc_pid_status(5)), as id(1) would say.
find_uid() {
  gid=
  while read -r key real effective rest; do
    case $key in
      Uid:) uid=$effective ;;
      Gid:) gid=$effective; return ;;
    esac
  done 2>/dev/null </proc/self/status
  uid=$(id -u)
}

say() { printf '%s\n' "$*"; }

# Any text as one word.
blob() {
  [ -n "$1" ] || { printf %s -; return; }
  blob_=$(printf '%s' "$1" | base64)
  printf '%s' ${blob_:--}
}

# fsync(2) of one file or folder where sync(1) can, of everything where it cannot.
sync_path() { sync "$@" 2>/dev/null || sync; }

# Whether path $1 is ours.
is_ours() { [ -O "$1" ] 2>/dev/null || [ "$(stat -c %u "$1")" = "$uid" ]; }

# file text: cat says why it could not write; the printf of some shells does not.
put_text() { { printf '%s' "$2" >"$1"; } 2>/dev/null || printf '%s' "$2" | cat >"$1"; }

# file line: cat says why it could not write; the printf of some shells does not.
put_line() { { printf '%s\n' "$2" >"$1"; } 2>/dev/null || printf '%s\n' "$2" | cat >"$1"; }

# Whether a folder above $1 is a symbolic link that not only root (or whoever we are) could have made.
is_unsafe() {
  walked=$root
  rest=${1#/}
  while case $rest in */*) true ;; *) false ;; esac; do
    walked=$walked/${rest%%/*}
    rest=${rest#*/}
    if [ -L "$walked" ]; then
      maker=$(stat -c %u "$walked") || return 0
      [ "$maker" = 0 ] || { [ -n "$root" ] && [ "$maker" = "$uid" ]; } || return 0
    fi
  done
  return 1
}

# Goes into folder $1 and holds it by its inode: whoever swaps a name on the way there later gains nothing.
enter_folder() {
  cd -P "$root${1:-/}" || return 1
  here=$PWD
  [ "${here%/}" = "$root${1%/}" ] && return 0
  if is_unsafe "$1/."; then
    echo "$1 leads through a symbolic link that not only root could have made" >&2
    return 1
  fi
}

# Goes into our own folder beside the targets in $1: same filesystem, ours alone.
enter_stage() {
  step_into_stage "$1" || return 1
  # A set-group-id folder hands its bit down to the folders made in it.
  case $(stat -c '%u %a' .) in "$uid 700" | "$uid 2700") return 0 ;; esac
  echo "$1/.fleet-stage is not ours alone" >&2
  return 1
}

# The same, whosever it is.
step_into_stage() {
  enter_folder "$1" || return 1
  above=${here%/}
  [ ! -L ./.fleet-stage ] || { echo "$1/.fleet-stage is a symbolic link" >&2; return 1; }
  cd -P ./.fleet-stage || return 1
  here=$PWD
  [ "$here" = "$above/.fleet-stage" ] || { echo "$1/.fleet-stage is not ours alone" >&2; return 1; }
}

# index name digest of each that is staged here: `names`, and in `sums` what sha256sum(1) must say of them
list_staged() {
  names= sums=
  while [ $# -ge 3 ]; do
    names="$names ./new/$2" sums="$sums$3  ./new/$2$lf"
    shift 3
  done
}

# folder name: what stands there, as the words in which a plan expects it.
look_at() {
  enter_folder "$1" || return 1
  if [ -L "./$2" ]; then echo symlink
  elif [ -f "./$2" ]; then
    digest=$(sha256sum <"./$2")
    owner=$(stat -c '%U:%G' "./$2")
    [ -z "$root" ] || [ "$uid" = 0 ] || owner=-
    echo "${digest%% *} $(stat -c '%a' "./$2") $owner"
  elif [ -e "./$2" ]; then echo 'no file'
  else echo 'absent - -'
  fi
}

# The SELinux context of a file (its attribute security.selinux), or nothing.
context_of() {
  context=$(stat -c %C "$1" 2>/dev/null) || context=
  [ "$context" = '?' ] || printf '%s' "$context"
}

# folder name file: in ./.fleet-stage there, gives the file the context of what lives under that name, else what the
# policy says of the path, else that of the folder.
keep_context() {
  [ -n "$selinux" ] || return 0
  wanted=
  [ ! -f "../$2" ] || wanted=$(context_of "../$2")
  if [ -z "$wanted" ] && command -v matchpathcon >/dev/null 2>&1; then
    wanted=$(matchpathcon -n "$1/$2" 2>/dev/null) || wanted=
    case $wanted in *:*:*) ;; *) wanted= ;; esac
  fi
  [ -n "$wanted" ] || wanted=$(context_of ..)
  [ -z "$wanted" ] || [ "$(context_of "$3")" = "$wanted" ] || chcon "$wanted" "$3"
}

is_plain_path() {
  case $1 in
    *[!A-Za-z0-9._@+:,=~/-]* | */../* | */.. | */./* | */. | *//* | */) return 1 ;;
    /*) return 0 ;;
  esac
  return 1
}

# Removes what staged folders an earlier run left; the list (ours, or the one given) says where. It stays as long as
# one of ours could not be removed. `inside` is one that we are in; with `spent` goes what was kept
# to go back by.
clean_stage() {
  list=${1:-$state/staging} left=
  [ ! -f "$list" ] || while read -r folder; do
    is_plain_path "$folder" || [ "$folder" = / ] || continue
    (
      [ "${inside-}" = "${folder%/}/" ] || enter_stage "${folder%/}" 2>/dev/null || exit 0
      cd -P .. && rm -rf ./.fleet-stage
    ) || left=yes
  done <"$list"
  if [ -n "$left" ] || [ ! -f "$list" ]; then set --; else set -- "$list"; fi
  for each in "$state"/check.*; do [ ! -e "$each" ] || set -- "$@" "$each"; done
  [ -z "${spent-}" ] || for each in "$state/manifest.before" "$state"/was-started/*; do
    [ ! -e "$each" ] || set -- "$@" "$each"
  done
  [ $# = 0 ] || rm -rf "$@"
}
