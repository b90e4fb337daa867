#!/usr/bin/env bash
# Two rows of tests side by side. Here: all but the browser tests on SQLite, the mall's own, and the
# fault suite. Beside them: all but the browser tests on a private MariaDB with RabbitMQ, and then
# the browser tests on SQLite. Arguments are passed to pytest, once on each database; the mall's
# tests and the faults are left out then.
set -uo pipefail
cd "$(dirname "$0")/.."
export SERVICES_DIR=$PWD/var/test-services MARIADB_PORT=${MARIADB_PORT:-13406}
export RABBITMQ_PORT=${RABBITMQ_PORT:-15773} FLUSH=off
broker=amqp://guest:guest@127.0.0.1:$RABBITMQ_PORT/%2F

on_sqlite() {
  env -u DATABASE_URL -u AMQP_URL .venv/bin/pytest -q "$@"
}

on_mariadb() {
  DATABASE_URL=mysql://groupbuy:groupbuy@127.0.0.1:$MARIADB_PORT/groupbuy AMQP_URL=$broker .venv/bin/pytest -q "$@"
}

of_the_mall() {
  (cd examples/mall && ../../.venv/bin/pytest -q "$@")
}

here() {
  echo "== SQLite"
  [ $# -eq 0 ] || { on_sqlite "$@"; return; }
  on_sqlite --ignore=tests/browser || return
  echo "== The reference mall"
  of_the_mall || return
  echo "== Faults: processes and services that die, a mall that misbehaves"
  on_sqlite -m chaos
}

beside() {
  export VAR_DIR=$SERVICES_DIR/var
  echo "== MariaDB and RabbitMQ"
  [ $# -eq 0 ] || { on_mariadb "$@"; return; }
  on_mariadb --ignore=tests/browser || return
  MALL_VAR_DIR=$SERVICES_DIR/mall MALL_TEST_AMQP_URL=$broker of_the_mall tests/test_rabbitmq.py || return
  bin/services.sh stop
  echo "== The pages in a browser"
  on_sqlite tests/browser
}

other=
trap '[ -z "$other" ] || kill -- -"$other"; bin/services.sh stop >/dev/null' EXIT
bin/chromium.sh || echo "The tests of the pages in a browser are skipped."
make --no-print-directory .venv/mysql && bin/services.sh start mariadb rabbitmq
case $? in
  0) ;;
  2 | 3) # make could not install the client, or services.sh a service
    on_sqlite "$@" && { [ $# -gt 0 ] || of_the_mall; } || exit 1
    echo "The tests passed on SQLite; those on MariaDB and RabbitMQ and the fault suite were skipped: the services could not be installed (see above)."
    exit 0 ;;
  *) exit 1 ;;
esac

set -m # a process group of its own, which the trap ends
beside "$@" >"$SERVICES_DIR/pytest.log" 2>&1 &
other=$!
set +m
here "$@"
failed=$?
wait "$other" || failed=1
other=
cat "$SERVICES_DIR/pytest.log"
[ $failed = 0 ] || exit 1
[ $# -gt 0 ] || echo "All tests passed, on SQLite and on MariaDB with RabbitMQ, in a browser, and under faults."
