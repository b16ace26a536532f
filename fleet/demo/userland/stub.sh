#!/bin/sh
# Stands for a program on a host of the demo (systemctl, dcmqrscp, ...): it asks the demo, which plays it.
# The answer's first line is the exit status, or `stay`: then this is a server that runs until it is ended.
folder=$FLEET_ROOT/run/demo
answer=$folder/answer.$$
mkfifo -m 600 "$answer" || exit 1
exec 3<>"$answer" # for both: nobody waits for the other end to be opened
printf '%s\n' "$$ ${0##*/} $*" 1<>"$folder/requests"
said=$(timeout 30 sed -n '/^end$/q;p' <&3)
exec 3>&-
rm -f "$answer"
status=$(printf '%s\n' "$said" | head -n 1)
printf '%s\n' "$said" | tail -n +2
case $status in
  stay) exec sleep 60 ;;
  '') echo "${0##*/}: the demo does not answer" >&2; exit 1 ;;
  *) exit "$status" ;;
esac
