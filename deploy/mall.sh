#!/bin/sh
# The reference mall's web server on a Unix socket: mall.sh /run/groupbuy-mall/web.sock
set -eu
cd "$(dirname "$0")/../examples/mall"
rm -f "$1" # left by a server that was killed
exec granian --interface wsgi --uds "$1" --uds-permissions "0${WEB_SOCKET_MODE:-660}" --workers 1 \
  --blocking-threads 4 --respawn-failed-workers --workers-kill-timeout 30s --no-ws --log-level warning \
  mall.wsgi:application
