"""The cost of metrics and log: the processor time of a trial on four servers, alternately.

bare: no middleware, METRICS_LISTEN is not set, no line of log. metered: the middleware, and files
that the processes share. sampled: also LOG_FILES, with a line for one trial in a hundred, which is
the default. logged: with a line for every trial. Unlike processor time, a rate would also depend on
what else runs on the machine. python -m benchmarks.metering does only this.
"""

import statistics
from contextlib import ExitStack

import psutil

from benchmarks.bodies import body
from benchmarks.stack import OUT, SECONDS, Row, print_table, row, stack, wrk
from tests.stack import Processes, free_port, web

ROUNDS = 15
SILENT = {"LOG_LEVEL": "ERROR", "LOG_FILES": "false"}
VARIABLES = {
    "bare": SILENT | {"BENCHMARK_WITHOUT_METRICS": "on"},
    "metered": SILENT,
    "sampled": {"LOG_LEVEL": "INFO", "LOG_FILES": "true"},
    "logged": {"LOG_LEVEL": "INFO", "LOG_FILES": "true", "LOG_ROUTINE": "1"},
}


def main() -> None:
    with stack() as key:
        rows = measure(key)
    print_table(rows)


def measure(key: str) -> list[Row]:
    print("metrics and log …", flush=True)
    ports = {name: free_port() for name in VARIABLES}
    with ExitStack() as servers:
        for name, port in ports.items():
            server = _server(name, port)
            servers.enter_context(server.running())
            server.wait_until_up(port)
        rounds = [{name: _trial(key, port) for name, port in ports.items()} for _ in range(ROUNDS)]
    line = statistics.median(each["logged"] - each["metered"] for each in rounds)
    return [
        _compared("trial without metrics / with, processor time", rounds, "bare", "metered", 0.95),
        _compared(
            "trial without log / with a line for one in 100", rounds, "metered", "sampled", 0.97
        ),
        row("one line of log, processor time", line, "µs"),
    ]


def _server(name: str, port: int) -> Processes:
    listen = "" if name == "bare" else f"127.0.0.1:{free_port()}"
    variables = VARIABLES[name] | {"METRICS_LISTEN": listen, "VAR_DIR": str(OUT / name)}
    return Processes({"web": web(port, workers=2)}, variables, OUT / "metering.log")


def _compared(
    title: str, rounds: list[dict[str, float]], before: str, after: str, goal: float
) -> Row:
    """The median ratio of the two servers' processor times, before / after."""
    ours = statistics.median(each[after] for each in rounds)
    ratio = statistics.median(each[before] / each[after] for each in rounds)
    return row(title, ours, "µs", ratio, goal)


def _trial(key: str, port: int) -> float:
    """Microseconds of processor time that the server needs for one trial."""
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
