#!/usr/bin/env bash
# All tests on SQLite, then again on a private MariaDB. Arguments go to pytest.
set -uo pipefail
cd "$(dirname "$0")/.."
export SERVICES_DIR=$PWD/var/test-services MARIADB_PORT=${MARIADB_PORT:-13406} FLUSH=off

echo "== SQLite"
env -u DATABASE_URL .venv/bin/pytest -q "$@" || exit 1

echo "== MariaDB"
trap 'deploy/services.sh stop >/dev/null' EXIT
make --no-print-directory .venv/mysql && deploy/services.sh start mariadb
case $? in
  0) ;;
  *) echo "The tests passed on SQLite; those on MariaDB were skipped: it could not be installed (see above)."
     exit 0 ;;
esac
DATABASE_URL=mysql://groupbuy:groupbuy@127.0.0.1:$MARIADB_PORT/groupbuy .venv/bin/pytest -q "$@" || exit 1
echo "All tests passed, on SQLite and on MariaDB."
