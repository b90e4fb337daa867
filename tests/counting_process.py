"""A process that counts metrics as its standard input demands; for tests/test_metric_files.py."""

import os
import sys
from pathlib import Path

from prometheus_client import Counter, Gauge

from groupbuy import metric_files


def main() -> None:
    metric_files.share(Path(sys.argv[1]))
    sales = Counter("sales", "Counted.", ["by"])
    Gauge("alive", "Processes.", multiprocess_mode="livesum").set(1)
    for line in sys.stdin:
        if line == "read\n":
            answer(read())
            continue
        if line == "fork\n":
            fork(sales)
        else:
            sales.labels("us").inc(int(line))
        answer("done")


def read() -> list[tuple[str, dict[str, str], float]]:
    registry = metric_files.collect()
    assert registry is not None
    samples = [sample for metric in registry.collect() for sample in metric.samples]
    return [(sample.name, sample.labels, sample.value) for sample in samples]


def fork(sales: Counter) -> None:
    """Fork a child whose counts must be ignored."""
    if os.fork() == 0:
        sales.labels("us").inc(1000)
        sales.labels("others").inc()
        os._exit(0)
    os.wait()


def answer(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
