"""Two web servers, two workers and beat on a MariaDB, a Redis and a RabbitMQ of their own."""

from tests.stack import ROOT, Processes, Services, free_port, web, worker

DIR = ROOT / "var" / "chaos"
BEAT = "exec celery --app groupbuy --quiet beat --loglevel WARNING"


class Stack(Processes):
    def __init__(self, settings: str = "groupbuy.settings") -> None:
        self.services = Services(DIR / "services")
        self.ports = (free_port(), free_port())
        self.environment = {
            **self.services.environment(),
            "DJANGO_SETTINGS_MODULE": settings,
            "SECRET_KEY": "chaos",
            "VAR_DIR": str(DIR),
            "DEBUG": "false",
            "DEMO": "false",
            "LOG_LEVEL": "WARNING",
            "CALLBACK_NETWORKS": "127.0.0.0/8",
        }
        commands = {
            **{f"web {port}": web(port, workers=1) for port in self.ports},
            "worker 1": worker("one", beat=False),
            "worker 2": worker("two", beat=False),
            "beat": BEAT,
        }
        super().__init__(commands, self.environment, DIR / "processes.log")
