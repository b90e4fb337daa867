#!/bin/sh
# HAProxy's check that a Galera node has a majority and is neither joining nor a donor (state 4).
# It needs a user:  CREATE USER monitor@'%'
state=$(mariadb --no-defaults --connect-timeout=1 --user=monitor --host="$3" --port="$4" \
  --skip-column-names --batch --execute "SHOW STATUS WHERE Variable_name IN ('wsrep_local_state', 'wsrep_ready')")
[ "$state" = "$(printf 'wsrep_local_state\t4\nwsrep_ready\tON')" ]
