#!/bin/sh
# Prepare Elasticsearch or Kibana: setup.sh elasticsearch, setup.sh kibana. A repeat is harmless.
#
# ELASTICSEARCH_URL, KIBANA_URL: their addresses. SECRETS: the directory of elastic_password,
# kibana_password and shipper_password. Exits with an error if a call is refused.
set -eu
umask 077
here=$(dirname "$0")
login=$(mktemp) # a password on the command line could be read by other processes
trap 'rm -f "$login"' EXIT
secret() { cat "${SECRETS:-/run/secrets}/$1"; }
call() { curl --config "$login" --fail --silent --show-error "$@"; }
put() { # put PATH: the body comes from standard input
  call --output /dev/null --request PUT --header "Content-Type: application/json" --data-binary @- \
    "$ELASTICSEARCH_URL/$1"
}

case ${1:-} in
  elasticsearch)
    printf 'user = "elastic:%s"\n' "$(secret elastic_password)" >"$login"
    printf '{"password": "%s"}' "$(secret kibana_password)" | put _security/user/kibana_system/_password
    put _security/role/shipper <"$here/shipper-role.json"
    printf '{"password": "%s", "roles": ["shipper"]}' "$(secret shipper_password)" | put _security/user/shipper
    put _ilm/policy/groupbuy <"$here/lifecycle.json"
    put _index_template/groupbuy <"$here/index-template.json" ;;
  kibana)
    printf 'user = "elastic:%s"\n' "$(secret elastic_password)" >"$login"
    answer=$(call --header "kbn-xsrf: true" --form "file=@$here/kibana.ndjson" \
      "$KIBANA_URL/api/saved_objects/_import?overwrite=true")
    case $answer in *'"success":true'*) ;; *) echo "$answer" >&2; exit 1 ;; esac ;; # refused with status 200
  *) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
