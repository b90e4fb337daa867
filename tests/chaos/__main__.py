"""Run the fault suite. Exits with 0 if nothing was lost, 1 if something was, and 3 if the services
cannot be installed.
"""

import argparse
import os
import random
import shutil
import sys

import django

from tests.chaos.stack import DIR, Stack


def main() -> int:
    arguments = _arguments()
    print(f"seed {arguments.seed}, {arguments.seconds} seconds", flush=True)
    shutil.rmtree(DIR, ignore_errors=True)
    DIR.mkdir(parents=True)
    stack = Stack(
        "tests.chaos.broken" if arguments.broken_outbox else "groupbuy.settings",
        cluster=arguments.cluster,
    )
    os.environ |= stack.environment | {"DJANGO_SETTINGS_MODULE": "groupbuy.settings"}
    try:
        if code := stack.services.start():
            return code
        django.setup()
        from tests.chaos.run import run  # noqa: PLC0415  it needs Django

        return run(stack, arguments.seed, arguments.seconds)
    finally:
        stack.services.stop()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="of shopping under faults")
    parser.add_argument(
        "--seed", type=int, default=random.randrange(10**6), help="of shoppers and faults"
    )
    parser.add_argument(
        "--cluster", action="store_true", help="three nodes of each service, killed and cut off"
    )
    parser.add_argument(
        "--broken-outbox", action="store_true", help="send after the commit without a promise"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
