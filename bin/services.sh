#!/usr/bin/env bash
# Private MariaDB, Redis and RabbitMQ below var/services: own ports, own data, loopback only.
#
#   bin/services.sh start [mariadb] [redis] [rabbitmq]    start them; default: all three
#   bin/services.sh stop                                  stop all that run
#   bin/services.sh client                                install what compiling mysqlclient needs
#   bin/services.sh load                                  install the load generator
#   bin/services.sh nginx                                 install nginx
#   bin/services.sh cluster                               install what clusters of the services need
#   bin/services.sh monitoring                            install Prometheus, Alertmanager and exporters
#   bin/services.sh shipping                              install rsyslog, which sends the log to Elasticsearch
#   bin/services.sh env                                   print variables that point the project there
#
# start and install need root or passwordless sudo if a Debian package is missing, and else exit with
# 3. FLUSH=off trades MariaDB's durability for the speed of tests. RABBITMQ_METRICS_PORT: the port
# on which RabbitMQ serves its metrics.
set -euo pipefail
cd "$(dirname "$0")/.."

DIR=${SERVICES_DIR:-$PWD/var/services}
MARIADB_PORT=${MARIADB_PORT:-13306}
REDIS_SERVICE_PORT=${REDIS_SERVICE_PORT:-16380}
RABBITMQ_PORT=${RABBITMQ_PORT:-15673}
export PATH=$PATH:/usr/sbin:/usr/lib/rabbitmq/bin

alive() { # alive PIDFILE: the process runs, and is not another program that got its number after a crash
  [ -f "$1" ] && grep -qE 'mariadbd|redis-server|beam|epmd' "/proc/$(cat "$1")/comm" 2>/dev/null
}

wait_for() { # wait_for WHAT COMMAND...
  local what=$1; shift
  for _ in $(seq 1200); do "$@" >/dev/null 2>&1 && { echo "$what is up"; return; }; sleep 0.2; done
  echo "$what did not start, see $DIR/*.log" >&2; exit 1
}

install() { # install COMMAND PACKAGE...
  command -v "$1" >/dev/null && return; shift
  local sudo=
  [ "$(id -u)" = 0 ] || sudo="sudo -n"
  if ! command -v apt-get >/dev/null || ! $sudo true 2>/dev/null; then
    echo "Missing: $* (Debian packages); installing them needs root or sudo." >&2; exit 3
  fi
  echo "installing $*"
  $sudo apt-get update -qq || true
  # RUNLEVEL=1 installs without starting the system-wide service.
  $sudo env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null || exit 3
}

start_mariadb() {
  install mariadbd mariadb-server
  alive "$DIR/mariadb.pid" && return
  local user=(); [ "$(id -u)" != 0 ] || user=(--user=root)
  local data=$DIR/mariadb flush=1
  export TMPDIR=$DIR # a server that starts removes the temporary tables of others in the same place
  [ "${FLUSH:-on}" = on ] || flush=0
  [ -d "$data/mysql" ] || mariadb-install-db --no-defaults "${user[@]}" --datadir="$data" \
    --auth-root-authentication-method=normal --skip-test-db >"$DIR/mariadb-install.log" 2>&1 ||
    { echo "MariaDB has no tables, see $DIR/mariadb-install.log" >&2; rm -rf "$data"; exit 1; }
  mariadbd --no-defaults "${user[@]}" --datadir="$data" --socket="$DIR/mariadb.sock" \
    --bind-address=127.0.0.1 --port="$MARIADB_PORT" --pid-file="$DIR/mariadb.pid" \
    --innodb-flush-log-at-trx-commit=$flush --innodb-buffer-pool-size=512M \
    --max-connections=300 --skip-name-resolve >"$DIR/mariadb.log" 2>&1 &
  wait_for "MariaDB on $MARIADB_PORT" mariadb-admin --no-defaults --socket="$DIR/mariadb.sock" -uroot ping
  mariadb --no-defaults --socket="$DIR/mariadb.sock" -uroot -e "
    CREATE DATABASE IF NOT EXISTS groupbuy CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
    CREATE USER IF NOT EXISTS groupbuy@'127.0.0.1' IDENTIFIED BY 'groupbuy';
    GRANT ALL ON *.* TO groupbuy@'127.0.0.1';"
}

start_redis() {
  install redis-server redis-server
  alive "$DIR/redis.pid" && return
  redis-server --bind 127.0.0.1 --port "$REDIS_SERVICE_PORT" --dir "$DIR" --pidfile "$DIR/redis.pid" \
    --daemonize yes --save "" --logfile "$DIR/redis.log" >/dev/null
  wait_for "Redis on $REDIS_SERVICE_PORT" redis-cli -p "$REDIS_SERVICE_PORT" ping
}

start_rabbitmq() {
  install rabbitmqctl rabbitmq-server
  alive "$DIR/rabbitmq.pid" && return
  mkdir -p "$DIR/rabbitmq"
  export HOME=$DIR/rabbitmq ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=$((RABBITMQ_PORT + 2))
  export RABBITMQ_NODENAME=groupbuy@localhost RABBITMQ_NODE_IP_ADDRESS=127.0.0.1
  export RABBITMQ_NODE_PORT=$RABBITMQ_PORT RABBITMQ_DIST_PORT=$((RABBITMQ_PORT + 1))
  export RABBITMQ_MNESIA_BASE=$HOME/data RABBITMQ_LOG_BASE=$HOME/log RABBITMQ_PID_FILE=$DIR/rabbitmq.pid
  export RABBITMQ_ENABLED_PLUGINS_FILE=$HOME/plugins
  export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}"
  echo "[]." >"$HOME/plugins"
  if [ -n "${RABBITMQ_METRICS_PORT:-}" ]; then
    echo "[rabbitmq_prometheus]." >"$HOME/plugins"
    printf 'prometheus.tcp.%s\n' "ip = 127.0.0.1" "port = $RABBITMQ_METRICS_PORT" >"$HOME/rabbitmq.conf"
    export RABBITMQ_CONFIG_FILE=$HOME/rabbitmq.conf
  fi
  alive "$DIR/epmd.pid" || # it outlives a RabbitMQ that was killed
    { epmd -port "$ERL_EPMD_PORT" >"$DIR/epmd.log" 2>&1 & echo $! >"$DIR/epmd.pid"; }
  /usr/lib/rabbitmq/bin/rabbitmq-server >"$DIR/rabbitmq.log" 2>&1 &
  wait_for "RabbitMQ on $RABBITMQ_PORT" bash -c "exec 3<>/dev/tcp/127.0.0.1/$RABBITMQ_PORT"
}

stop() {
  for name in rabbitmq epmd redis mariadb; do
    if alive "$DIR/$name.pid"; then
      pid=$(cat "$DIR/$name.pid")
      kill "$pid"
      for _ in $(seq 150); do kill -0 "$pid" 2>/dev/null || break; sleep 0.2; done
      echo "stopped $name"
    fi
    rm -f "$DIR/$name.pid"
  done
}

case ${1:-} in
  start)
    mkdir -p "$DIR"
    shift; [ $# -gt 0 ] || set -- mariadb redis rabbitmq
    for name in "$@"; do "start_$name"; done ;;
  stop) stop ;;
  client) # what building mysqlclient needs
    command -v mariadb_config >/dev/null || install mariadb_config libmariadb-dev pkg-config gcc python3-dev ;;
  load) install wrk wrk ;; # the load generator of make bench
  nginx) install nginx nginx ;;
  cluster) # what make chaos CLUSTER=1 starts
    for each in "mariadbd mariadb-server" "redis-sentinel redis-sentinel" "redis-server redis-server" \
      "rabbitmqctl rabbitmq-server" "haproxy haproxy" "rsync rsync"; do install $each; done
    ls /usr/lib/galera/libgalera_smm.so /usr/lib/libgalera_smm.so >/dev/null 2>&1 || install libgalera galera-4 ;;
  monitoring)
    install promtool prometheus prometheus-alertmanager
    install prometheus-node-exporter prometheus-node-exporter
    install prometheus-redis-exporter prometheus-redis-exporter
    install prometheus-mysqld-exporter prometheus-mysqld-exporter
    install prometheus-nginx-exporter prometheus-nginx-exporter ;;
  shipping) install rsyslogd rsyslog rsyslog-elasticsearch ;;
  env)
    echo "SECRET_KEY=$(head -c 36 /dev/urandom | base64)"
    echo "DATABASE_URL=mysql://groupbuy:groupbuy@127.0.0.1:$MARIADB_PORT/groupbuy"
    echo "REDIS_URL=redis://127.0.0.1:$REDIS_SERVICE_PORT/0"
    echo "CELERY_BROKER_URL=amqp://guest:guest@127.0.0.1:$RABBITMQ_PORT//"
    echo "AMQP_URL=amqp://guest:guest@127.0.0.1:$RABBITMQ_PORT/%2F" ;;
  *) sed -n '2,16s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
