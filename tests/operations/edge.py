"""nginx with the configuration of deploy/nginx, two web servers behind it, and a stand-in mall."""

import json
import re
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from getpass import getuser
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Thread
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from groupbuy_client import Client
from tests.stack import EMBEDDED, ROOT, Processes, free_port, wait_for

HOST = "shop.example.com"
PATIENCE = 300  # seconds until a test fails; nothing here takes as long
OFFER = "/o/s01/c01/9890001"


class ToLoopback(HTTPAdapter):
    """HTTPS to 127.0.0.1, with the name and the certificate of the host."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, server_hostname=HOST, assert_hostname=HOST, **kwargs)


class Mall(socketserver.ThreadingUnixStreamServer):
    """A stand-in that echoes requests, drops connections on one path, and records request lines."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.lines: list[str] = []
        super().__init__(str(path), _Answer)

    def start(self) -> None:
        Thread(target=self.serve_forever, daemon=True).start()


class _Answer(BaseHTTPRequestHandler):
    server: Mall

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.lines.append(f"{self.command} {self.path}")
        if "hang-up" in self.path:
            return
        body = json.dumps({"path": self.path, **dict(self.headers.items())}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *args: Any) -> None:
        pass

    def address_string(self) -> str:
        return "nginx"


class Edge:
    def __init__(self, root: Path, *, code: Path = ROOT, **variables: str) -> None:
        """root stands for /: its etc, run and var contain the files that the configuration names.

        code: a checkout of the platform, or a link to one.
        """
        self.root, self.code, self.http, self.https = root, code, free_port(), free_port()
        self.var_dir = root / "var/lib/groupbuy"
        self.log = root / "var/log/nginx/groupbuy.log"
        self.certificate = root / f"etc/letsencrypt/live/{HOST}/fullchain.pem"
        self.url = f"https://127.0.0.1:{self.https}"
        self.key = ""
        for each in ("run/groupbuy", "var/cache", "var/log/nginx", "var/lib/groupbuy"):
            (root / each).mkdir(parents=True)
        shutil.copytree(ROOT / "static", self.var_dir / "static", dirs_exist_ok=True)
        self.environment = EMBEDDED | {
            "VAR_DIR": str(self.var_dir),
            "DATABASE_URL": f"sqlite:///{self.var_dir / 'db.sqlite3'}",
            "REDIS_URL": "redis://127.0.0.1:1/0",
            "CELERY_BROKER_URL": "memory://",
            "SECRET_KEY": "tests",
            "LOG_LEVEL": "ERROR",
            "ALLOWED_HOSTS": HOST,
            "TRUSTED_PROXIES": "1",
            "BEHIND_HTTPS_PROXY": "true",
            "PYTHONPATH": str(code),
            "WEB_WORKERS": "1",
            **variables,
        }
        self.webs = Processes(
            {
                name: f"cd {code} && exec deploy/web.sh {self.socket_of(name)}"
                for name in ("a", "b")
            },
            self.environment,
            root / "web.log",
        )

    def socket_of(self, name: str) -> Path:
        return self.root / f"run/groupbuy/web-{name}.sock"

    def accepted(self) -> int:
        """The number of connections that the web servers have accepted and not closed yet."""
        lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
        paths = {str(self.socket_of("a")), str(self.socket_of("b"))}
        connected, queued = "03", "0"  # columns St and Inode
        return sum(
            line[-1] in paths and line[5] == connected and line[6] != queued for line in lines
        )

    def manage(self, *arguments: str) -> str:
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(
            command, cwd=self.code, env=self.environment, check=True, capture_output=True, text=True
        ).stdout

    @contextmanager
    def platform(self) -> Iterator[None]:
        """Run two web servers, with the demo's goods."""
        self.manage("migrate", "--verbosity", "0")
        self.manage("seed_demo")
        self.key = self.manage("create_api_key", "s01", "c01").split()[-1]
        with self.webs.running():
            self.wait_until_up("a")
            self.wait_until_up("b")
            yield

    def wait_until_up(self, name: str) -> None:
        wait_for(lambda: _answers(self.socket_of(name)), f"web server {name}")

    @contextmanager
    def nginx(self, **changed: str) -> Iterator[None]:
        """Run nginx; some texts of its configuration are replaced."""
        self._make_certificate()
        command = ["nginx", "-p", str(self.root), "-c", self._configure(changed)]
        process = subprocess.Popen([*command, "-e", "error.log"], cwd=self.root)
        try:
            wait_for(lambda: _listens(self.https), "nginx")
            yield
        finally:
            process.terminate()
            process.wait(PATIENCE)

    def session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.mount("https://", ToLoopback())
        session.verify = str(self.certificate)
        session.headers["Host"] = HOST
        return session

    def get(self, path: str, **headers: str) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.session().get(
            self.url + path, headers=named, allow_redirects=False, timeout=PATIENCE
        )

    def client(self, **options: Any) -> Client:
        """A client of the mall s01/c01."""
        return Client(
            self.url, self.key, source="s01", channel="c01", session=self.session, **options
        )

    def connect(self, sent: bytes = b"") -> ssl.SSLSocket:
        """Open a connection and send these bytes."""
        context = ssl.create_default_context(cafile=self.certificate)
        context.set_alpn_protocols(["http/1.1"])
        plain = socket.create_connection(("127.0.0.1", self.https), PATIENCE)
        line = context.wrap_socket(plain, server_hostname=HOST)
        line.sendall(sent)
        return line

    def logged(self, path: str) -> list[str]:
        """The lines of nginx's log about this path."""
        return [line for line in self.log.read_text().splitlines() if f' {path}"' in line]

    def _make_certificate(self) -> None:
        self.certificate.parent.mkdir(parents=True, exist_ok=True)
        key = self.certificate.with_name("privkey.pem")
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        command += ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"]
        command += ["-keyout", str(key), "-out", str(self.certificate)]
        subprocess.run(command, check=True, capture_output=True)

    def _configure(self, changed: dict[str, str]) -> str:
        """Write the shipped files with paths below root and this test's ports."""
        text = "".join(
            (ROOT / "deploy/nginx" / name).read_text("utf-8")
            for name in ("upstreams.conf", "groupbuy.conf")
        )
        text = re.sub(r"^ *listen \[::\].*\n", "", text, flags=re.M)
        text = text.replace("listen 80", f"listen 127.0.0.1:{self.http}")
        text = text.replace("listen 443", f"listen 127.0.0.1:{self.https}")
        text = re.sub(r"(?<=[ :])/(etc|run|var)/", rf"{self.root}/\1/", text)
        for old, new in changed.items():
            assert old in text
            text = text.replace(old, new)
        temporary = "".join(
            f"{kind}_temp_path {self.root}/var/cache/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        path = self.root / "nginx.conf"
        path.write_text(
            f"daemon off; user {getuser()}; pid {self.root}/pid; error_log {self.root}/error.log;"
            "events {} http { include /etc/nginx/mime.types;" + f"{temporary}\n{text}}}"
        )
        return str(path)


def _answers(path: Path) -> bool:
    """Does a web server respond on this socket?"""
    with socket.socket(socket.AF_UNIX) as line, suppress(OSError):
        line.settimeout(5)
        line.connect(str(path))
        line.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        return line.recv(12) == b"HTTP/1.1 200"
    return False


def _listens(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0
