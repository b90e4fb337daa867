#!/bin/sh
# The platform's web server on a Unix socket: web.sh /run/groupbuy/web-a.sock
#
# On SIGTERM it removes the socket first, so that nginx uses the other server. It answers all accepted
# requests before it ends.
set -eu
socket=$1
rm -f "$socket" # left by a server that was killed
granian --interface rsgi --loop uvloop --http 1 --http1-header-read-timeout 5000 --http1-buffer-size 65536 \
  --backlog 4096 --backpressure 512 --no-ws \
  --uds "$socket" --uds-permissions "0${WEB_SOCKET_MODE:-660}" --workers "${WEB_WORKERS:-2}" \
  --respawn-failed-workers --workers-kill-timeout 30s --log-level warning groupbuy.rsgi:application &
server=$!
drain() {
  rm -f "$socket"
  for _ in 1 2 3 4 5 6 7 8; do # until the server has accepted the waiting connections
    sleep 1
    grep -Eq " 03 +0 $socket\$" /proc/net/unix || break # such a line is a waiting connection
  done
  kill "$server"
}
trap drain TERM INT
wait "$server" || { [ ! -e "$socket" ] && wait "$server"; } # a signal ends the first wait
