"""Two web servers, two workers and beat on MariaDB, Redis and RabbitMQ, with 1 or 3 nodes each."""

from tests.chaos.cluster import Cluster
from tests.stack import PROCFILE, ROOT, Processes, Services, free_port, web, worker

DIR = ROOT / "var" / "chaos"
MALL_DIR = DIR / "mall"
CREDENTIALS, GOODS = MALL_DIR / "credentials.json", MALL_DIR / "goods.json"
BEAT = "exec celery --app groupbuy --quiet beat --loglevel WARNING"


class Stack(Processes):
    def __init__(self, settings: str = "groupbuy.settings", *, cluster: bool = False) -> None:
        self.services = (Cluster if cluster else Services)(DIR / "services")
        self.ports = (free_port(), free_port())
        self.mall_port, self.alipay_port = free_port(), free_port()
        self.environment = {
            **self.services.environment(),
            "DJANGO_SETTINGS_MODULE": settings,
            "SECRET_KEY": "chaos",
            "VAR_DIR": str(DIR),
            "DEBUG": "false",
            "DEMO": "false",
            "LOG_LEVEL": "WARNING",
            "CALLBACK_NETWORKS": "127.0.0.0/8",
            **self._mall_environment(),
        }
        commands = {
            **{f"web {port}": web(port, workers=1) for port in self.ports},
            "worker 1": worker("one", beat=False),
            "worker 2": worker("two", beat=False),
            "beat": BEAT,
            "mall": PROCFILE["mall"],
            "loop 1": PROCFILE["mall_work"],
            "loop 2": PROCFILE["mall_work"],
            "alipay": PROCFILE["alipay"],
        }
        super().__init__(commands, self.environment, DIR / "processes.log")

    def _mall_environment(self) -> dict[str, str]:
        """The environment of the reference mall s08/c08, its two loops and the pretend Alipay."""
        return {
            "PYTHONPATH": str(ROOT / "clients/python/src"),
            "NO_PROXY": "127.0.0.1",
            "MALL_PORT": str(self.mall_port),
            "ALIPAY_PORT": str(self.alipay_port),
            "MALL_DEMO": "on",
            "MALL_BELIEVE_USER_ID": "on",
            "MALL_VAR_DIR": str(MALL_DIR),
            "MALL_URL": f"http://127.0.0.1:{self.mall_port}",
            "MALL_PLATFORM_URL": f"http://127.0.0.1:{self.ports[0]}",
            "MALL_SOURCE": "s08",
            "MALL_CHANNEL": "c08",
            "MALL_CREDENTIALS": str(CREDENTIALS),
            "MALL_GOODS": str(GOODS),
            "MALL_ALIPAY_GATEWAY": f"http://127.0.0.1:{self.alipay_port}/gateway.do",
            "MALL_LOG_LEVEL": "ERROR",
        }
