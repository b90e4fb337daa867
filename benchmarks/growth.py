"""What make bench measures besides requests: time that is up, histories, callbacks, crowds.

python -m benchmarks.growth does only this and prints its table.
"""

from benchmarks.stack import Row, print_table, stack


def main() -> None:
    with stack() as key:
        rows = measure(key)
    print_table(rows)


def measure(key: str) -> list[Row]:
    from benchmarks import callbacks, crowds, expiry, history  # noqa: PLC0415  models are there now

    return [*expiry.measure(), *history.measure(), *callbacks.measure(key), *crowds.measure()]


if __name__ == "__main__":
    main()
