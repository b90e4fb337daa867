"""A process that counts what its standard input says; for tests/test_metric_files.py."""

import os
import sys
from pathlib import Path

from prometheus_client import Counter, Gauge

from groupbuy import metric_files

metric_files.share(Path(sys.argv[1]))
SALES = Counter("sales", "Counted.", ["by"])
ALIVE = Gauge("alive", "Processes.", multiprocess_mode="livesum")


def count(number: str) -> None:
    SALES.labels("us").inc(int(number))


def main() -> None:
    ALIVE.set(1)
    for line in sys.stdin:
        if line.startswith("fork"):
            if os.fork() == 0:
                count("1000")
                SALES.labels("others").inc()
                os._exit(0)
            os.wait()
        elif line.startswith("read"):
            registry = metric_files.collect()
            assert registry is not None
            found = [(s.name, s.labels, s.value) for m in registry.collect() for s in m.samples]
            sys.stdout.write(f"{found}\n")
            sys.stdout.flush()
            continue
        else:
            count(line)
        sys.stdout.write("done\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
