"""MariaDB, RabbitMQ and nginx for their exporters; these tests' platform does not use them."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from getpass import getuser
from pathlib import Path
from urllib.parse import urlsplit

import pika
import pytest

from tests.stack import ROOT, Services, free_port

NOT_INSTALLED = 3
CREATE = "CREATE USER exporter@'127.0.0.1' IDENTIFIED BY 'secret' WITH MAX_USER_CONNECTIONS 3"
COLLECTORS = "--no-collect.slave_status --no-collect.info_schema.innodb_cmp"
COLLECTORS += " --no-collect.info_schema.innodb_cmpmem --no-collect.info_schema.query_response_time"


class Below:
    def __init__(self, directory: Path, rabbitmq: int) -> None:
        """rabbitmq is the port of RabbitMQ's metrics."""
        self._directory, self._status = directory, free_port()
        services = directory / "services"
        self._services = Services(services, "mariadb", "rabbitmq", metrics_port=rabbitmq)
        self._environment = self._services.environment()

    def commands(self, mariadb: int, nginx: int) -> dict[str, str]:
        """The commands of nginx and of the exporters, which listen on these ports."""
        return {
            "nginx": f"exec nginx -p {self._directory} -e nginx.log -c {self._nginx()}",
            "mysqld_exporter": f"exec prometheus-mysqld-exporter {COLLECTORS}"
            f" --config.my-cnf={self._login()} --web.listen-address=127.0.0.1:{mariadb}",
            "nginx_exporter": "exec prometheus-nginx-exporter -nginx.retries 60"
            f" -nginx.retry-interval 1s -nginx.scrape-uri http://127.0.0.1:{self._status}/status"
            f" -web.listen-address 127.0.0.1:{nginx}",
        }

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run MariaDB with a user that has no rights, and RabbitMQ with a queue."""
        if code := self._services.start():
            assert code == NOT_INSTALLED, "see services/services.log"
            pytest.skip("MariaDB or RabbitMQ cannot be installed")
        try:
            self._create_user()
            self._declare_queue()
            yield
        finally:
            self._services.stop()

    def _create_user(self) -> None:
        url = urlsplit(self._environment["DATABASE_URL"])
        login = f"-h{url.hostname} -P{url.port} -u{url.username} -p{url.password}"
        command = f'mariadb --no-defaults {login} -e "{CREATE}"'
        subprocess.run(["/bin/sh", "-c", command], check=True)

    def _declare_queue(self) -> None:
        with pika.BlockingConnection(pika.URLParameters(self._environment["AMQP_URL"])) as broker:
            broker.channel().queue_declare("of a mall")

    def _login(self) -> Path:
        port = urlsplit(self._environment["DATABASE_URL"]).port
        path = self._directory / "exporter.cnf"
        path.write_text(f"[client]\nhost=127.0.0.1\nport={port}\nuser=exporter\npassword=secret\n")
        return path

    def _nginx(self) -> Path:
        """Write the configuration of deploy/nginx/status.conf with another port."""
        text = (ROOT / "deploy/nginx/status.conf").read_text("utf-8")
        text = text.replace("127.0.0.1:9145", f"127.0.0.1:{self._status}")
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        text = "".join(f"{each}_temp_path {self._directory}/{each};" for each in kinds) + text
        path = self._directory / "nginx.conf"
        path.write_text(
            f"daemon off; user {getuser()}; pid {self._directory}/nginx.pid;"
            f"events {{}} http {{ {text} }}"
        )
        return path
