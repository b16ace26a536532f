#!/bin/sh
# Install the Debian packages that the tests talk to, starting no daemon on this machine.
# usage: install-packages.sh LIST    (one package a line, # begins a comment)
set -eu
list=$1
missing=""
for package in $(sed 's/#.*//' "$list"); do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    # Debian policy 9.3.3.1: exit status 101 forbids the action.
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
apt-get -o DPkg::Lock::Timeout=300 update -q
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -yq --no-install-recommends $missing
# On a machine that boots by systemd, what was installed must not start with it either.
for unit in keepalived haproxy orthanc; do
    systemctl disable "$unit" >/dev/null 2>&1 || true
done
