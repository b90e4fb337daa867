"""Measures of make bench besides requests: expiry, history, figures, callbacks, processor, crowds.

python -m benchmarks.growth does only this and prints its table.
"""

from benchmarks.stack import Row, print_table, stack


def main() -> None:
    with stack() as key:
        rows = measure(key)
    print_table(rows)


def measure(key: str) -> list[Row]:
    # Django is set up now.
    from benchmarks import callbacks, crowds, expiry, figures, history, processor  # noqa: PLC0415

    rows = [*expiry.measure(), *history.measure(), *figures.measure()]
    return [*rows, *callbacks.measure(key), *processor.measure(key), *crowds.measure()]


if __name__ == "__main__":
    main()
