"""What metrics cost: the processor time of a trial with them and without, on two servers in turn.

With: the middleware, and files that the processes share. Without: neither; METRICS_LISTEN is not
set. The rate would also depend on what else runs on the machine. python -m benchmarks.metering does
only this.
"""

import statistics

import psutil

from benchmarks.bodies import body
from benchmarks.stack import OUT, SECONDS, Row, print_table, row, stack, wrk
from tests.stack import Processes, free_port, web

ROUNDS = 15


def main() -> None:
    with stack() as key:
        rows = measure(key)
    print_table(rows)


def measure(key: str) -> list[Row]:
    print("metrics …", flush=True)
    ports = free_port(), free_port()
    variables = (
        {"METRICS_LISTEN": f"127.0.0.1:{free_port()}"},
        {"METRICS_LISTEN": "", "BENCHMARK_WITHOUT_METRICS": "on"},
    )
    metered, bare = (
        Processes({"web": web(port, workers=2)}, each | {"VAR_DIR": str(OUT)}, OUT / "metering.log")
        for port, each in zip(ports, variables, strict=True)
    )
    with metered.running(), bare.running():
        metered.wait_until_up(ports[0])
        bare.wait_until_up(ports[1])
        pairs = [(_trial(key, ports[0]), _trial(key, ports[1])) for _ in range(ROUNDS)]
    ours = statistics.median(ours for ours, _theirs in pairs)
    ratio = statistics.median(theirs / ours for ours, theirs in pairs)
    return [row("trial without metrics / with, processor time", ours, "µs", ratio, 0.95)]


def _trial(key: str, port: int) -> float:
    """Microseconds of processor time that the server needs for one."""
    bodies = [body(f"shopper{number}") for number in range(200)]
    before = _processor_seconds(port)
    run = wrk("api/v1/gbm/trade/trial", bodies, key, port=str(port))
    return (_processor_seconds(port) - before) * 1e6 / (run["per_second"] * SECONDS)


def _processor_seconds(port: int) -> float:
    """Processor time of the web server's processes on this port."""
    times = [
        process.cpu_times()
        for process in psutil.Process().children(recursive=True)
        if process.environ().get("PORT") == str(port)
    ]
    return float(sum(each.user + each.system for each in times))


if __name__ == "__main__":
    main()
