"""Every list of the console becomes a file; long ones piece by piece, by any worker."""

import csv
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.utils import translation
from openpyxl import load_workbook

from activity.models import Sku
from groupbuy import book, exports, listing, tables
from groupbuy.listing import Listing
from groupbuy.models import Export
from tests.factories import NOW, lock, make_activity, make_promise
from trade.models import Order

pytestmark = pytest.mark.django_db
LISTS = [f"{page.opts.app_label}/{page.opts.model_name}" for page in admin.site._registry.values()]
LATER = NOW + timedelta(minutes=10)


@pytest.fixture(autouse=True)
def media(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    settings.MEDIA_ROOT = tmp_path
    monkeypatch.setattr("groupbuy.exports.time.sleep", lambda _seconds: None)
    with time_machine.travel(NOW, tick=False):
        yield tmp_path / "exports"


@pytest.fixture
def user() -> User:
    return User.objects.create_superuser("operator")


@pytest.fixture
def operator(user: User) -> Client:
    client = Client(headers={"Accept-Language": "en"})
    client.force_login(user)
    return client


@pytest.fixture
def _long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of more than one row are long, two keys are a piece."""
    monkeypatch.setattr(exports, "AT_ONCE", 1)
    monkeypatch.setattr(listing, "PIECE", 2)


def rows_of(content: bytes) -> list[list[str]]:
    text = content.decode()
    assert text.startswith("\ufeff")
    return list(csv.reader(StringIO(text[1:])))


def cells_of(content: bytes) -> list[list[Any]]:
    sheet: Any = load_workbook(BytesIO(content)).worksheets[0]
    return [[cell.value for cell in row] for row in sheet.iter_rows()]


def some_orders(count: int = 5) -> list[str]:
    """Orders of one shopper each; their numbers, the oldest first."""
    make_activity()
    return [lock(f"u{n}", now=NOW).out_trade_no for n in range(count)]


def begin(user: User, kind: str = "csv", query: str = "") -> Export:
    with translation.override("en"):
        export = exports.start(user, model=Order, query=query, kind=kind, now=NOW)
    assert export is not None
    return export


def work(now: Any = NOW) -> bool:
    return exports.work(clock=lambda: now)


def content_of(export: Export) -> bytes:
    export.refresh_from_db()
    assert export.error == ""
    assert export.finished_at is not None
    return exports.path_of(export).read_bytes()


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
@pytest.mark.parametrize("name", LISTS)
def test_every_list_has_its_file(name: str, kind: str, operator: Client) -> None:
    some_orders(1)
    make_promise()
    response = operator.post(f"/admin/export/{name}.{kind}")

    assert response.status_code == 200
    assert f'.{kind}"' in response["Content-Disposition"]
    table = (rows_of if kind == "csv" else cells_of)(response.content)
    shown = operator.get(f"/admin/{name}/").content.decode()
    assert f'formaction="/admin/export/{name}.{kind}?"' in shown
    assert len(table[0]) > 0
    assert {len(row) for row in table} == {len(table[0])}


def test_the_file_has_what_filters_and_search_show(operator: Client) -> None:
    numbers = some_orders(3)
    Sku.objects.update(name="goods")

    def found(query: str) -> list[str]:
        response = operator.post(f"/admin/export/trade/order.csv?{query}")
        return [row[0] for row in rows_of(response.content)[1:]]

    assert found("") == numbers
    assert found("q=u1") == [numbers[1]]
    assert found("state=paid") == []
    assert found("state=locked&days=1") == numbers
    assert found("q=%00") == numbers  # the list ignores such a search, too
    assert operator.post("/admin/export/trade/order.csv?nothing=1").status_code == 404


def test_cells_are_words_numbers_and_moments(operator: Client) -> None:
    some_orders(1)
    order = Order.objects.get()
    [head, row] = cells_of(operator.post("/admin/export/trade/order.xlsx").content)

    named = dict(zip(head, row, strict=True))
    assert named["Mall's order number"] == order.out_trade_no
    assert named["Status"] == "locked"
    assert named["To pay"] == 80
    assert named["Team"] == str(order.team_id)  # Excel would round the number
    assert named["Locked at"] == "2036-05-01 12:00:00"
    assert named["Close reason"] is None


EVIL = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=cmd|"/c calc"!A1')


@pytest.mark.parametrize("text", EVIL)
def test_no_cell_becomes_a_formula(text: str, operator: Client) -> None:
    Sku.objects.create(goods_id="1", name=text, original_price=-1 + 2)
    rows = rows_of(operator.post("/admin/export/activity/sku.csv").content)
    assert f"'{text}" in rows[1]

    content = operator.post("/admin/export/activity/sku.xlsx").content
    sheet: Any = load_workbook(BytesIO(content)).worksheets[0]
    types = {cell.data_type for cell in next(sheet.iter_rows(min_row=2))}
    assert "f" not in types
    assert text.strip() in [str(value).strip() for value in cells_of(content)[1]]


def test_a_text_is_no_error_of_excel(operator: Client) -> None:
    Sku.objects.create(goods_id="1", name="#N/A", original_price=1)
    content = operator.post("/admin/export/activity/sku.xlsx").content
    sheet: Any = load_workbook(BytesIO(content)).worksheets[0]
    assert [(cell.value, cell.data_type) for cell in sheet[2]][2] == ("#N/A", "s")


def test_a_negative_number_stays_a_number() -> None:
    assert tables.as_csv([[-1.5, "-1.5"]]) == b"-1.5,'-1.5\r\n"


@pytest.mark.parametrize("name", ["trade/order", "auth/user", "groupbuy/apikey"])
def test_a_user_who_may_not_see_a_list_gets_no_file(name: str) -> None:
    member = User.objects.create_user("member", is_staff=True)
    member.groups.set([Group.objects.get(name="viewer")] if name != "trade/order" else [])
    client = Client()
    client.force_login(member)

    assert client.post(f"/admin/export/{name}.csv").status_code == 403
    assert client.get(f"/admin/export/{name}.csv").status_code == 405
    assert Client().post(f"/admin/export/{name}.csv").status_code == 302
    assert not Export.objects.exists()


def test_an_unknown_list_is_no_page(operator: Client) -> None:
    assert operator.post("/admin/export/trade/nothing.csv").status_code == 404
    assert operator.post("/admin/export/trade/dailysum.csv").status_code == 403


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_a_long_list_is_written_by_the_worker(
    kind: str, operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = some_orders()
    url = f"/admin/export/trade/order.{kind}?state=locked"
    at_once = operator.post(url).content
    monkeypatch.setattr(exports, "AT_ONCE", 4)
    monkeypatch.setattr(listing, "PIECE", 2)
    response = operator.post(url)
    assert response["Location"] == "/admin/exports/"
    assert "0 rows so far" in operator.get("/admin/exports/").content.decode()

    assert work() is False
    export = Export.objects.get()
    read = rows_of if kind == "csv" else cells_of
    assert read(content_of(export)) == read(at_once)
    assert export.rows == len(numbers)
    page = operator.get("/admin/exports/").content.decode()
    assert "5 rows, kept until 05-02 12:00" in page
    got = operator.get(f"/admin/exports/{export.pk}/")
    assert b"".join(got.streaming_content) == content_of(export)  # type: ignore[attr-defined]
    assert f'filename="trade.order-2036-05-01.{kind}"' in got["Content-Disposition"]


@pytest.mark.usefixtures("_long")
def test_a_user_waits_for_five_files_at_most(operator: Client) -> None:
    some_orders()
    for column in range(5):
        operator.post(f"/admin/export/trade/order.csv?o={column + 1}")
    first = Export.objects.order_by("pk").first()
    assert Export.objects.count() == 5

    page = operator.post("/admin/export/trade/order.csv", follow=True).content.decode()
    assert "5 of your files are not ready yet: wait for one, or delete one." in page
    assert Export.objects.count() == 5

    assert first is not None
    operator.post(f"/admin/exports/{first.pk}/delete/")
    page = operator.post("/admin/export/trade/order.csv", follow=True).content.decode()
    assert "The file is being written." in page
    assert Export.objects.count() == 5


@pytest.mark.usefixtures("_long")
def test_rows_that_come_later_are_not_in_the_file(user: User) -> None:
    numbers = some_orders(3)
    export = begin(user)
    lock("late", now=NOW, activity_id=100123)
    work()

    assert [row[0] for row in rows_of(content_of(export))[1:]] == numbers


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """Run a function while the nth piece is read; the first one is 1."""
    real, count = Listing.piece, 0

    def at(number: int, happens: Callable[[], None]) -> None:
        def piece(self: Listing, after: str, last: str) -> Any:
            nonlocal count
            count += 1
            if count == number:
                happens()
            return real(self, after, last)

        monkeypatch.setattr(Listing, "piece", piece)

    return at


class CrashError(Exception):
    pass


def crash() -> None:
    raise CrashError


@pytest.mark.usefixtures("_long")
def test_another_worker_goes_on_after_a_crash(user: User, pieces: Any, media: Path) -> None:
    numbers = some_orders()
    export = begin(user)
    pieces(2, crash)
    with pytest.raises(CrashError):
        work()
    part = media / f"{export.pk}.part"
    part.write_bytes(part.read_bytes() + b"half a line," * 1000)  # it died while it was writing

    assert work() is False  # the lease of the dead one
    export.refresh_from_db()
    assert (export.rows, export.finished_at) == (2, None)
    work(LATER)
    assert [row[0] for row in rows_of(content_of(export))[1:]] == numbers
    assert not part.exists()


@pytest.mark.usefixtures("_long")
@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_another_worker_ends_an_export_whose_file_is_complete(
    kind: str, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = some_orders()
    export = begin(user, kind)
    with monkeypatch.context() as dying:
        dying.setattr(exports, "_end", lambda *_arguments: crash())
        with pytest.raises(CrashError):
            work()

    work(LATER + exports.BOOK_LEASE)

    read = rows_of if kind == "csv" else cells_of
    assert [str(row[0]) for row in read(content_of(export))[1:]] == numbers
    assert [path.suffix for path in exports.path_of(export).parent.iterdir()] == [f".{kind}"]


@pytest.mark.usefixtures("_long")
def test_a_worker_that_has_lost_its_lease_writes_nothing(
    user: User, pieces: Any, media: Path
) -> None:
    some_orders()
    export = begin(user)
    pieces(2, lambda: Export.objects.update(leased_until=LATER) and None)
    work()

    export.refresh_from_db()
    assert (export.rows, export.leased_until) == (2, LATER)
    assert export.size == (media / f"{export.pk}.part").stat().st_size


@pytest.mark.usefixtures("_long")
def test_a_second_worker_leaves_an_export_to_the_first(user: User, pieces: Any) -> None:
    numbers = some_orders()
    export = begin(user)
    seen = []
    pieces(1, lambda: seen.append(work()))  # it comes while the first one reads
    work()

    assert seen == [False]
    assert [row[0] for row in rows_of(content_of(export))[1:]] == numbers


@pytest.mark.usefixtures("_long")
def test_two_lists_are_read_at_once(user: User) -> None:
    """Each reader holds a thread, as a workbook does."""
    some_orders()
    first, second, third = (begin(user, query=f"q={n}") for n in range(3))
    read = Export.objects.filter(pk__in=[first.pk, second.pk])
    read.update(leased_until=LATER)

    assert work() is False
    third.refresh_from_db()
    assert (third.leased_until, third.finished_at) == (NOW, None)

    Export.objects.filter(pk=first.pk).update(leased_until=None, finished_at=NOW)
    work()
    third.refresh_from_db()
    assert third.finished_at == NOW


@pytest.mark.usefixtures("_long")
def test_workers_make_two_workbooks_at_once(user: User) -> None:
    """Else workbooks could take all threads, and nothing would end teams or holds."""
    some_orders()
    first, second, third = (begin(user, "xlsx", query=f"q={n}") for n in range(3))
    made = Export.objects.filter(pk__in=[first.pk, second.pk])
    made.update(leased_until=LATER, is_read=True)

    assert [work(), work()] == [False, False]
    third.refresh_from_db()
    assert (third.is_read, third.leased_until, third.finished_at) == (True, NOW, None)
    file = begin(user, "csv")
    assert work() is False
    file.refresh_from_db()
    assert file.finished_at == NOW

    Export.objects.filter(pk=first.pk).update(leased_until=None, finished_at=NOW)
    work()
    third.refresh_from_db()
    assert third.finished_at == NOW


@pytest.mark.usefixtures("_long")
@pytest.mark.parametrize("change", [{"is_active": False}, {"is_superuser": False}])
def test_an_export_ends_when_its_user_may_not_see_the_list(
    user: User, change: dict[str, bool]
) -> None:
    some_orders()
    export = begin(user)
    User.objects.update(**change)
    with translation.override("zh-hans"):  # as in a worker
        work()

    export.refresh_from_db()
    assert export.error == "You may not see this list any more."
    assert export.leased_until is None
    assert not exports.path_of(export).exists()


@pytest.mark.usefixtures("_long")
def test_a_full_disk_is_reported(
    user: User, operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    some_orders()
    begin(user)

    def full(*_arguments: Any) -> int:
        raise OSError(28, "full")

    monkeypatch.setattr("groupbuy.exports.os.open", full)
    work()

    assert "failed: [Errno 28] full" in operator.get("/admin/exports/").content.decode()


@pytest.mark.usefixtures("_long")
def test_files_are_their_users_own(user: User, operator: Client) -> None:
    some_orders()
    export = begin(user)
    work()
    other = User.objects.create_superuser("other")
    client = Client()
    client.force_login(other)

    assert client.get(f"/admin/exports/{export.pk}/").status_code == 404
    assert client.post(f"/admin/exports/{export.pk}/delete/").status_code == 404
    User.objects.filter(pk=user.pk).update(is_superuser=False)
    assert operator.get(f"/admin/exports/{export.pk}/").status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="view_order"))
    assert operator.get(f"/admin/exports/{export.pk}/").status_code == 200
    operator.post(f"/admin/exports/{export.pk}/delete/")
    assert not exports.path_of(export).exists()
    assert not Export.objects.exists()


@pytest.mark.usefixtures("_long")
def test_an_export_whose_beginning_is_on_another_disk_ends(
    user: User, operator: Client, pieces: Any, media: Path
) -> None:
    some_orders()
    export = begin(user)
    pieces(2, crash)
    with pytest.raises(CrashError):
        work()
    (media / f"{export.pk}.part").write_bytes(b"less")

    work(LATER)

    reason = f"failed: The file is not in {media.parent}: every host needs the same directory."
    assert reason in operator.get("/admin/exports/").content.decode()


@pytest.mark.usefixtures("_long")
def test_the_page_from_which_a_list_is_exported_does_not_matter(operator: Client) -> None:
    some_orders()

    for page in "?p=1", "?p=2", "":
        operator.post(f"/admin/export/trade/order.csv{page}")

    assert Export.objects.get().query == ""


@pytest.mark.usefixtures("_long")
def test_pressing_twice_writes_one_file_and_old_ones_go(user: User) -> None:
    some_orders()
    first = begin(user)
    assert begin(user) == first
    work()
    content_of(first)
    for n in range(exports.MOST):
        begin(user, query=f"q=u{n % 2}")
        work()

    assert Export.objects.count() == exports.MOST
    assert not Export.objects.filter(pk=first.pk).exists()
    assert not exports.path_of(first).exists()


@pytest.mark.usefixtures("_long")
def test_files_go_after_a_day(user: User, media: Path) -> None:
    some_orders()
    begin(user)
    work()
    exports.forget_old(NOW + exports.KEPT)
    assert len(list(media.iterdir())) == 1
    exports.forget_old(NOW + exports.KEPT + timedelta(seconds=1))

    assert list(media.iterdir()) == []
    assert not Export.objects.exists()


@pytest.mark.usefixtures("_long")
def test_no_file_outlives_its_export(
    user: User, operator: Client, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some_orders()
    deleted, kept, write = begin(user, kind="xlsx"), begin(user), tables.write_book

    def slowly(lines: Path, workbook: Path) -> None:
        operator.post(f"/admin/exports/{deleted.pk}/delete/")
        lines.touch()
        write(lines, workbook)

    monkeypatch.setattr(tables, "write_book", slowly)
    while work():
        pass
    other = User.objects.create_user("other", is_staff=True, is_superuser=True)
    begin(other)
    work()
    other.delete()
    exports.forget_old(NOW)

    assert list(media.iterdir()) == [exports.path_of(kept)]


@pytest.mark.usefixtures("_long")
def test_an_export_that_nobody_finishes_is_given_up(user: User) -> None:
    some_orders()
    export = begin(user)
    with translation.override("zh-hans"):  # as in a worker
        exports.forget_old(NOW + exports.GIVE_UP + timedelta(minutes=1))

    export.refresh_from_db()
    assert (export.leased_until, export.error) == (None, "It took too long.")


def test_an_export_that_a_worker_has_just_claimed_is_not_given_up(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    some_orders()
    claimed, late = begin(user), begin(user, kind="xlsx")
    end, lease = exports._end, NOW + exports.GIVE_UP + exports.LEASE

    def claim_first(export: Export, now: datetime, error: str = "") -> None:
        Export.objects.filter(pk=claimed.pk).update(leased_until=lease)
        end(export, now, error)

    monkeypatch.setattr(exports, "_end", claim_first)
    exports.forget_old(NOW + exports.GIVE_UP + timedelta(minutes=1))

    claimed.refresh_from_db()
    late.refresh_from_db()
    assert (claimed.leased_until, claimed.error) == (lease, "")
    assert (late.leased_until, late.error) == (None, "It took too long.")


def test_a_workbook_goes_on_in_another_sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "ROWS", 3)
    file = BytesIO()
    book.write([["head"], *([n] for n in range(5))], file)
    sheets = load_workbook(file).worksheets

    assert [[cell.value for cell in sheet["A"]] for sheet in sheets] == [
        ["head", 0, 1],
        ["head", 2, 3],
        ["head", 4],
    ]
