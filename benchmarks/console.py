"""Find the slowest pages of the console: every list with every filter, sort and search.

The addresses are read from the pages, so everything that the admin declares is measured.
python -m benchmarks.console [ORDERS] loads the database that DATABASE_URL names, which must be
empty, and measures it; without a number it measures the database as it is.
"""

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import django

os.environ |= {"DEBUG": "false", "LOG_LEVEL": "ERROR", "SECRET_KEY": "bench"}
os.environ |= {"REDIS_URL": "redis://127.0.0.1:1/0", "CELERY_BROKER_URL": "memory://"}
os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"

TRIES = 20  # of a page that is not QUICK, as other processes of the machine may slow some tries
QUICK = 100  # milliseconds
CHOICES = 8  # tried of each filter, spread evenly over its choices
SHOWN = 25  # pages in the table


@dataclass(frozen=True, slots=True)
class Timing:
    list: str
    address: str
    page: float  # milliseconds
    database: float  # milliseconds of it in the database


def main() -> None:
    django.setup()
    from django.core.management import call_command  # noqa: PLC0415
    from django.utils import timezone  # noqa: PLC0415

    from benchmarks import million  # noqa: PLC0415

    if len(sys.argv) > 1:
        call_command("migrate", verbosity=0)
        million.load(int(sys.argv[1]), now=timezone.now())
    timings = sorted(measure(), key=attrgetter("page"), reverse=True)
    print(f"{len(timings)} pages; the slowest, in milliseconds: page, database")
    for timing in timings[:SHOWN]:
        print(f"{timing.page:7.0f}{timing.database:7.0f}  {timing.list}{timing.address}")
    slowest: dict[str, Timing] = {}
    for timing in timings:
        slowest.setdefault(timing.list, timing)
    print("the slowest of each list")
    for name, timing in sorted(slowest.items()):
        print(f"{timing.page:7.0f}{timing.database:7.0f}  {name}{timing.address}")


def measure() -> Iterator[Timing]:
    from django.contrib import admin  # noqa: PLC0415
    from django.contrib.auth.models import User  # noqa: PLC0415
    from django.test import Client  # noqa: PLC0415

    client, user = Client(headers={"Host": "localhost"}), User.objects.get(username="bench")
    client.force_login(user)
    for page in admin.site._registry.values():
        url = f"/admin/{page.opts.app_label}/{page.opts.model_name}/"
        for address in addresses(page, user):
            yield time_page(client, url, address)
        for row in page.model._default_manager.order_by("pk")[:1]:
            for address in (f"{row.pk}/change/", f"{row.pk}/history/"):
                yield time_page(client, url, address)
    for term in terms():
        yield time_page(client, "/admin/trade/order/find/", f"?q={term}")
    yield time_page(client, "/admin/", "")


def terms() -> Iterator[Any]:
    """Terms for the search box: of the oldest and the newest order, a name, and no hit."""
    from trade.models import Order  # noqa: PLC0415

    for order in (Order.objects.earliest("pk"), Order.objects.latest("pk")):
        yield from (order.out_trade_no, order.pk, order.user_id, order.team_id, order.code)
    yield from ("activity", "nothing-like-this")


def addresses(page: Any, user: Any) -> list[str]:
    """Query strings: no filter, one, two; and at most one filter with a sort or a search."""
    alone = ["", *links(changes(page, user, ""))]
    found = dict.fromkeys(alone)
    for address in alone:
        found |= dict.fromkeys(links(changes(page, user, address)))
    for more in [*sorts(changes(page, user, "")), *searches(page), "p=2", "p=100"]:
        found |= dict.fromkeys(f"{each or '?'}&{more}" for each in alone)
    return list(found)


def changes(page: Any, user: Any, address: str) -> Any:
    from django.test import RequestFactory  # noqa: PLC0415

    request = RequestFactory().get(f"/{address}")
    request.user = user
    return page.get_changelist_instance(request)


def links(found: Any) -> Iterator[str]:
    """Query strings to which the filters of this page link."""
    for spec in found.filter_specs:
        choices = [choice["query_string"] for choice in spec.choices(found)]
        step = max(1, (len(choices) - 1) / (CHOICES - 1))
        yield from {choices[round(n * step)] for n in range(min(len(choices), CHOICES))}


def sorts(found: Any) -> Iterator[str]:
    from django.contrib.admin.templatetags.admin_list import result_headers  # noqa: PLC0415

    for number, header in enumerate(result_headers(found)):
        if header.get("sortable"):
            column = number - ("action_checkbox" in found.list_display)
            yield from (f"o={column}", f"o=-{column}")


def searches(page: Any) -> Iterator[str]:
    """Searches for the fields of the oldest and the newest row, in full and by their beginning."""
    if not page.search_fields:
        return
    yield "q=nothing-like-this"
    for name in page.search_fields:
        for order in ("pk", "-pk"):
            rows = page.model._default_manager.order_by(order)
            for value in rows.values_list(name.lstrip("^=@"), flat=True)[:1]:
                yield f"q={value}"
                yield f"q={str(value)[:8]}"


def time_page(client: Any, url: str, address: str) -> Timing:
    """The page's processor time plus its wait for the database; the fastest of several tries.

    So other processes of the machine hardly count.
    """
    from django.db import connection  # noqa: PLC0415

    spent = waited = 0.0

    def watch(execute: Any, *arguments: Any) -> Any:
        nonlocal spent, waited
        began, began_processor = time.perf_counter(), time.process_time()
        try:
            return execute(*arguments)
        finally:
            took = time.perf_counter() - began
            spent += took
            waited += max(0, took - (time.process_time() - began_processor))

    best = Timing(url, address, float("inf"), 0)
    for _try in range(TRIES):
        spent, waited, began = 0.0, 0.0, time.process_time()
        with connection.execute_wrapper(watch):
            response = client.get(url + address)
        page = (time.process_time() - began + waited) * 1000
        assert response.status_code in (200, 302), (url, address, response.status_code)
        if page < best.page:
            best = Timing(url, address, page, spent * 1000)
        if best.page < QUICK:
            break
    return best


if __name__ == "__main__":
    main()
