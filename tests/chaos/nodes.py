"""A node of each kind: starts it, checks that it is a full member, cuts it off."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import redis

from tests.stack import free_port, wait_for

PROVIDERS = ("/usr/lib/galera/libgalera_smm.so", "/usr/lib/libgalera_smm.so")
SENTINEL_TIMEOUT = 1000  # milliseconds until a silent Redis counts as down
DATABASE = """
CREATE DATABASE groupbuy CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE USER groupbuy@'127.0.0.1' IDENTIFIED BY 'groupbuy';
GRANT ALL ON *.* TO groupbuy@'127.0.0.1';
CREATE USER monitor@'127.0.0.1';
"""


class Node:
    """A server with its data in a directory and four consecutive ports; peers: all first ports."""

    user = ""  # that the server must run as where we are root

    def __init__(self, directory: Path, index: int, peers: Sequence[int]) -> None:
        self.directory, self.index, self.peers = directory, index, peers
        self.port = peers[index]
        self.log = directory / "log"
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, *, first: bool) -> None:
        raise NotImplementedError

    def is_ready(self) -> bool:
        raise NotImplementedError

    def cut_off(self) -> None:
        """Stop the processes, so that the peers have to notice the silence."""
        self._signal(signal.SIGSTOP)

    def join_again(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self, number: int) -> None:
        self._signal(number)
        for process in self._processes:
            process.wait(120)
        self._processes = []

    def stop(self) -> None:
        self.kill(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        for process in self._processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)

    def run(self, command: Sequence[str], **variables: str) -> None:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env=os.environ | variables,
                start_new_session=True,
                user=self.user if self.user and os.getuid() == 0 else None,
            )
        self._processes.append(process)

    def make_directory(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.user and os.getuid() == 0:
            shutil.chown(self.directory, self.user, self.user)


class MariaDB(Node):
    """Ports: clients, the group's messages, incremental state transfer, full state transfer.

    A server that starts removes the temporary tables of others that have the same TMPDIR.
    """

    user = "mysql"  # rsync's state transfer is refused to root

    def start(self, *, first: bool) -> None:
        data = self.directory / "data"
        if not data.exists():
            self.make_directory()
            command = ["mariadb-install-db", "--no-defaults", f"--datadir={data}"]
            command += ["--auth-root-authentication-method=normal", "--skip-test-db"]
            self.run(command, TMPDIR=str(self.directory))
            assert self._processes.pop().wait() == 0, self.log
        group = ",".join(f"127.0.0.1:{port + 1}" for port in self.peers)
        provider = next(path for path in PROVIDERS if Path(path).exists())
        options = f"gmcast.listen_addr=tcp://127.0.0.1:{self.port + 1}"
        options += f";ist.recv_addr=127.0.0.1:{self.port + 2}"
        options += (
            ";evs.keepalive_period=PT0.5S;evs.inactive_check_period=PT0.5S;evs.suspect_timeout=PT2S"
        )
        command = ["mariadbd", "--no-defaults", f"--datadir={data}", f"--port={self.port}"]
        command += [f"--socket={self.directory}/sock", f"--pid-file={self.directory}/pid"]
        command += ["--bind-address=127.0.0.1", "--skip-name-resolve", "--max-connections=300"]
        command += ["--innodb-buffer-pool-size=128M", "--innodb-flush-log-at-trx-commit=0"]
        command += ["--binlog-format=ROW", "--innodb-autoinc-lock-mode=2", "--wsrep-on=ON"]
        command += [f"--wsrep-provider={provider}", f"--wsrep-provider-options={options}"]
        command += [f"--wsrep-cluster-address=gcomm://{group}", "--wsrep-sst-method=rsync"]
        command += [f"--wsrep-node-address=127.0.0.1:{self.port + 1}"]
        command += [f"--wsrep-sst-receive-address=127.0.0.1:{self.port + 3}"]
        command += [f"--wsrep-node-name=node{self.index + 1}"]
        command += ["--wsrep-new-cluster"] if first else []
        self.run(command, TMPDIR=str(self.directory))

    def is_ready(self) -> bool:
        return self.query("SHOW STATUS LIKE 'wsrep_local_state'").split()[-1:] == ["4"]

    def cut_off(self) -> None:
        """Clients stay connected to a node without a majority."""
        self.query("SET GLOBAL wsrep_provider_options='gmcast.isolate=1'")

    def join_again(self) -> None:
        self.query("SET GLOBAL wsrep_provider_options='gmcast.isolate=0'")

    def query(self, sql: str) -> str:
        command = ["mariadb", "--no-defaults", "-uroot", f"--socket={self.directory}/sock"]
        command += ["--skip-column-names", "--batch", "--execute", sql]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout


class Redis(Node):
    """Ports: Redis, its Sentinel."""

    def start(self, *, first: bool) -> None:
        self.make_directory()
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--dir", str(self.directory)]
        master = self.peers[0]
        if not first:
            master = self._master() or master
        if master != self.port:  # as long as no other was chosen, it is the master again
            command += ["--replicaof", "127.0.0.1", str(master)]
        self.run(command)
        path = self.directory / "sentinel.conf"
        path.write_text(
            f"port {self.port + 1}\nbind 127.0.0.1\ndir {self.directory}\n"
            f"sentinel monitor groupbuy 127.0.0.1 {master} 2\n"
            f"sentinel down-after-milliseconds groupbuy {SENTINEL_TIMEOUT}\n"
            f"sentinel failover-timeout groupbuy 5000\n"
        )
        self.run(["redis-sentinel", str(path)])

    def is_ready(self) -> bool:
        """Is it the master, or a replica that is up to date?"""
        with suppress(redis.RedisError), closing(self._connect(self.port)) as connection:
            found: Any = connection.info("replication")
            return bool(found["role"] == "master" or found["master_link_status"] == "up")
        return False

    def _master(self) -> int | None:
        """The port of the master that the other Sentinels agree on."""
        for port in (peer for peer in self.peers if peer != self.port):
            with suppress(redis.RedisError), closing(self._connect(port + 1)) as connection:
                found: Any = connection.sentinel_get_master_addr_by_name("groupbuy")
                if found:
                    return int(found[1])
        return None

    def _connect(self, port: int) -> redis.Redis:
        return redis.Redis(port=port, socket_timeout=1, socket_connect_timeout=1)


class RabbitMQ(Node):
    """Ports: clients, the other nodes."""

    epmd: subprocess.Popen[bytes] | None = None
    epmd_port = 0

    def start(self, *, first: bool) -> None:
        self.make_directory()
        _start_epmd()
        names = [f"node{index + 1}@localhost" for index in range(3)]
        settings = ["cluster_formation.peer_discovery_backend = classic_config"]
        settings += [
            f"cluster_formation.classic_config.nodes.{index + 1} = {name}"
            for index, name in enumerate(names)
        ]
        settings += ["cluster_partition_handling = pause_minority", "net_ticktime = 5"]
        settings += ["queue_leader_locator = balanced"]
        (self.directory / "rabbitmq.conf").write_text("\n".join(settings) + "\n")
        (self.directory / "plugins").write_text("[].")
        cookie = self.directory / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text("groupbuy")
            cookie.chmod(0o400)
        self.run(["/usr/lib/rabbitmq/bin/rabbitmq-server"], **self._variables(names[self.index]))

    def is_ready(self) -> bool:
        return accepts(self.port)

    def _variables(self, name: str) -> dict[str, str]:
        home = str(self.directory)
        return {
            "HOME": home,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(RabbitMQ.epmd_port),
            "RABBITMQ_NODENAME": name,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.port + 1),
            "RABBITMQ_CONFIG_FILE": f"{home}/rabbitmq.conf",
            "RABBITMQ_MNESIA_BASE": f"{home}/data",
            "RABBITMQ_LOG_BASE": f"{home}/logs",
            "RABBITMQ_PID_FILE": f"{home}/pid",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{home}/plugins",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ("-kernel inet_dist_use_interface {127,0,0,1}"),
        }


def make_database(node: Any) -> None:
    node.query(DATABASE)


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _start_epmd() -> None:
    """Start epmd, by which RabbitMQ's nodes find each other; one that they start would stay."""
    if RabbitMQ.epmd:
        return
    RabbitMQ.epmd_port = free_port()
    path = os.environ["PATH"] + ":/usr/lib/erlang/bin"
    RabbitMQ.epmd = subprocess.Popen(
        ["epmd", "-address", "127.0.0.1", "-port", str(RabbitMQ.epmd_port)],
        env=os.environ | {"PATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: accepts(RabbitMQ.epmd_port), "epmd")


def stop_epmd() -> None:
    if RabbitMQ.epmd:
        RabbitMQ.epmd.terminate()
        RabbitMQ.epmd.wait(30)
        RabbitMQ.epmd = None
