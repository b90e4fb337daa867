#!/bin/sh
# Make the secrets of docker-compose.yml in a directory: secrets.sh var/secrets. Keeps existing ones.
#
# Containers read them as other users, so everybody may read the files, but not enter the directory.
set -eu
mkdir -p "$1" && chmod 700 "$1" && cd "$1"
umask 022
random() { python3 -c 'import secrets; print(secrets.token_urlsafe(32))'; }
make() { # make FILE: writes standard input; reads it to its end even if the file exists
  if [ -s "$1" ]; then cat >/dev/null; else cat >"$1.new" && [ -s "$1.new" ] && mv "$1.new" "$1"; fi
}

random | make secret_key
random | make database_password
random | make database_root_password
random | make rabbitmq_password
random | make mall_secret_key
random | make grafana_password
for each in exporter elastic kibana shipper; do random | make "${each}_password"; done
echo "mysql://groupbuy:$(cat database_password)@mariadb:3306/groupbuy" | make database_url
echo "amqp://groupbuy:$(cat rabbitmq_password)@rabbitmq:5672//" | make broker_url
echo "amqp://groupbuy:$(cat rabbitmq_password)@rabbitmq:5672/%2F" | make amqp_url
printf 'default_user = groupbuy\ndefault_pass = %s\n' "$(cat rabbitmq_password)" | make rabbitmq.conf
# By default RabbitMQ may use a part of the host's memory, which can be more than its container has.
grep -q '^vm_memory_high_watermark' rabbitmq.conf ||
  echo 'vm_memory_high_watermark.absolute = 300MB' >>rabbitmq.conf
echo "CREATE USER exporter IDENTIFIED BY '$(cat exporter_password)' WITH MAX_USER_CONNECTIONS 3;" | make exporter.sql
printf '[client]\nhost=mariadb\nuser=exporter\npassword=%s\n' "$(cat exporter_password)" | make exporter.cnf
make kibana.yml <<S
server.host: 0.0.0.0
elasticsearch.hosts: ["http://elasticsearch:9200"]
elasticsearch.username: kibana_system
elasticsearch.password: "$(cat kibana_password)"
xpack.security.encryptionKey: "$(random)"
xpack.encryptedSavedObjects.encryptionKey: "$(random)"
telemetry.optIn: false
S
echo '{"api_key": "", "webhook_secret": "", "page_secret": ""}' | make mall_credentials.json
echo "# Further variables of the platform: .env.example" | make platform.env
echo "# Further variables of the mall, such as MALL_ALIPAY_APP_ID: examples/mall/README.md" | make mall.env
