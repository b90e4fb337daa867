#!/bin/sh
# Run a command of manage.py as a service does, with its user and variables. As root:
# manage.sh groupbuy migrate; manage.sh groupbuy-mall prepare.
set -eu
user=${1:-}
case $user in
  groupbuy) directory=/opt/groupbuy variables=platform ;;
  groupbuy-mall) directory=/opt/groupbuy/examples/mall variables=mall ;;
  *) echo "Usage: manage.sh groupbuy|groupbuy-mall COMMAND …" >&2; exit 2 ;;
esac
shift
exec systemd-run --quiet --pty --pipe --wait --uid="$user" --gid="$user" --working-directory="$directory" \
  --property=EnvironmentFile="/etc/groupbuy/$variables.env" --property=UMask=0027 \
  --setenv=PYTHONPATH=/opt/groupbuy/clients/python/src /opt/groupbuy/.venv/bin/python manage.py "$@"
