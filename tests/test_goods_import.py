"""Goods and offers from a file: looked at first, all or nothing, twice changes nothing."""

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from decimal import Decimal
from functools import partial
from io import BytesIO
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError, connection, transaction
from django.test import Client
from django.utils import translation
from openpyxl import Workbook

from activity import goods_file, goods_import, tasks
from activity.models import Activity, GoodsFile, Offer, Sku
from groupbuy.history import text_of
from tests.factories import NOW, make_activity
from tests.racing import race

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clock")]
HEAD = "goods_id,name,original_price,cost_price,description,source,channel,activity_id"
UPLOAD = "/admin/activity/sku/import/"


@pytest.fixture(autouse=True)
def _english() -> Iterator[None]:
    with translation.override("en"):
        yield


def csv_of(*rows: str, head: str = HEAD) -> bytes:
    return "\n".join((head, *rows)).encode()


def book_of(*rows: Sequence[Any]) -> bytes:
    book, file = Workbook(), BytesIO()
    sheet: Any = book.active
    for row in (HEAD.split(","), *rows):
        sheet.append(row)
    book.save(file)
    return file.getvalue()


def upload(client: Client, content: bytes, name: str = "goods.csv") -> str:
    """Returns the address of the preview."""
    response = client.post(UPLOAD, {"file": SimpleUploadedFile(name, content)})
    assert response.status_code == 302, response.content.decode()
    return str(response["Location"])


def faults(content: bytes) -> list[tuple[int, str, str]]:
    return [(each.row, each.column, each.text) for each in goods_file.plan(content).faults]


def goods() -> list[tuple[Any, ...]]:
    return list(
        Sku.objects.order_by("goods_id").values_list("goods_id", "name", "original_price",
                                                     "cost_price")
    )  # fmt: skip


def press(operator: Client, url: str, reason: str = "") -> str:
    """Press *Import* on the page of the file; return the page that follows."""
    [seen] = re.findall(r'name="seen" value="(\w+)"', operator.get(url).content.decode())
    fields = {"import": "1", "reason": reason, "seen": seen}
    return operator.post(url, fields, follow=True).content.decode()


def test_what_another_operator_changed_meanwhile_is_shown_before_it_is_overwritten(
    operator: Client,
) -> None:
    Sku.objects.create(goods_id="x", name="tea", original_price=12)
    url = upload(operator, csv_of("x,tea,12,,,,,", "y,cup,30,,,,,"))
    [seen] = re.findall(r'name="seen" value="(\w+)"', operator.get(url).content.decode())
    Sku.objects.update(original_price=15)
    before = goods()

    page = operator.post(url, {"import": "1", "seen": seen}, follow=True).content.decode()

    assert "The goods have changed: look at the file again." in page
    assert "original price: 15.00 → 12" in page
    assert goods() == before
    press(operator, url)
    assert [row[2] for row in goods()] == [Decimal(12), Decimal(30)]


def test_goods_and_offers_are_shown_and_then_written(operator: Client) -> None:
    make_activity(1, goods_id="old")
    content = csv_of(
        "old,a longer book,120.5,,,,,",
        "new,tea,29.90,4,green,s01,c01,1",
        "other,cup,30,,,s01,c01,1",
    )
    before = goods()
    url = upload(operator, content)
    page = operator.get(url).content.decode()

    assert "Goods added or changed: 3. Offers added: 2. There already: 0." in page
    assert "original price: 100.00 → 120.5" in page
    assert goods() == before
    assert Offer.objects.count() == 1
    done = press(operator, url, reason="rain")
    assert "Imported: 2 new goods, 1 changed, 2 offers added." in done
    assert goods() == [
        ("new", "tea", Decimal("29.90"), Decimal(4)),
        ("old", "a longer book", Decimal("120.50"), None),
        ("other", "cup", Decimal(30), None),
    ]
    assert sorted(Offer.objects.values_list("sku__goods_id", "activity")) == [
        ("new", 1), ("old", 1), ("other", 1),
    ]  # fmt: skip
    logged = LogEntry.objects.filter(content_type__model="sku")
    entry = logged.get(object_id=str(Sku.objects.get(goods_id="old").pk))
    assert "original price: 100.00 → 120.5" in text_of(entry)
    assert "reason: “rain”" in text_of(entry)
    assert not GoodsFile.objects.exists()
    assert operator.get(url).status_code == 302  # it is gone


def test_a_price_on_sale_asks_why(operator: Client) -> None:
    make_activity(1, goods_id="old")
    url = upload(operator, csv_of("old,,120.5,,,,,"))
    page = press(operator, url, reason=" ")

    assert "Say why prices of goods on sale change." in page
    assert 'name="reason"' in page
    assert goods() == [("old", "a book", Decimal(100), None)]
    Activity.objects.update(status=Activity.Status.CREATED)  # no shopper sees the price
    assert 'name="reason"' not in operator.get(url).content.decode()
    press(operator, url)
    assert goods() == [("old", "a book", Decimal("120.5"), None)]


def test_a_description_is_as_long_as_the_form_allows() -> None:
    assert faults(csv_of(f"new,tea,9,,{'x' * 2000},,,")) == []
    text = "Ensure this value has at most 2000 characters (it has 2001)."
    assert faults(csv_of(f"new,tea,9,,{'x' * 2001},,,")) == [(2, "description", text)]


def test_a_price_that_needs_a_second_person_is_not_imported(settings: Any) -> None:
    settings.SECOND_PERSON = ["price"]
    make_activity(1, goods_id="old")
    dearer = csv_of("old,,120.5,,,,,")

    text = "This price needs a second person: change it on the page of the goods."
    assert faults(dearer) == [(2, "original price", text)]
    assert faults(csv_of("old,,100,5,,,,", "new,tea,9,,,,,")) == []
    Activity.objects.update(status=Activity.Status.CREATED)  # no shopper sees the price
    assert faults(dearer) == []


def test_the_same_file_a_second_time_changes_nothing(operator: Client) -> None:
    make_activity(1, goods_id="old")
    content = csv_of("new,tea,29.90,4,green,s01,c01,1")
    press(operator, upload(operator, content))
    before, entries = goods(), LogEntry.objects.count()
    url = upload(operator, content)

    assert "Goods added or changed: 0. Offers added: 0. There already: 2." in (
        operator.get(url).content.decode()
    )
    press(operator, url)
    assert goods() == before
    assert Offer.objects.count() == 2
    assert LogEntry.objects.count() == entries


def test_a_workbook_is_read_like_a_text() -> None:
    content = book_of(["9890001", "tea", 9.9, 4, None], [9890002, "cup", 30, None, "white"])
    plan = goods_file.plan(content)

    assert plan.faults == []
    assert [(each.sku.goods_id, each.sku.original_price) for each in plan.changes] == [
        ("9890001", Decimal("9.9")), ("9890002", Decimal(30)),
    ]  # fmt: skip


def test_an_exported_list_can_be_imported_after_it_was_edited(operator: Client) -> None:
    make_activity(1, goods_id="old")
    Sku.objects.update(name="=evil")
    for kind in ("csv", "xlsx"):
        for language in ("en", "zh-hans"):
            headers = {"Accept-Language": language}
            url = f"/admin/export/activity/sku.{kind}"
            exported = operator.post(url, headers=headers).content
            plan = goods_file.plan(exported)
            assert (plan.faults, plan.changes, plan.unchanged) == ([], [], 1)
            assert len(plan.ignored) == 1  # the picture


@pytest.mark.parametrize(
    ("row", "column", "text"),
    [
        (",tea,9,,,,,", "goods id", "The goods id is missing."),
        ("new,,9,,,,,", "name", "This field cannot be blank."),
        ("new,tea,,,,,,", "original price", "This field cannot be null."),
        ("new,tea,nine,,,,,", "original price", "“nine” value must be a decimal number."),
        ("new,tea,0,,,,,", "original price",
         "Ensure this value is greater than or equal to 0.01."),
        ("new,tea,9.999,,,,,", "original price",
         "Ensure that there are no more than 2 decimal places."),
        ("new,tea,9,-1,,,,", "cost of one piece",
         "Ensure this value is greater than or equal to 0."),
        (f"new,{'x' * 129},9,,,,,", "name",
         "Ensure this value has at most 128 characters (it has 129)."),
        ("new goods,tea,9,,,,,", "goods id", "Enter a valid value."),
        ("new,tea,9,,,s09,c01,1", "channel", "There is no such channel."),
        ("new,tea,9,,,s01,c01,2", "activity id", "There is no such activity."),
        ("new,tea,9,,,s01,c01,one", "activity id", "There is no such activity."),
        (f"new,tea,9,,,s01,c01,{'9' * 20}", "activity id", "There is no such activity."),
        ("new,tea,20,,,s01,c01,1", "activity id",
         "The discount “discount” leaves nothing of the price 20."),
        ("old,,15,,,,,", "original price",
         "The discount “discount” leaves nothing of the price 15."),
    ],
)  # fmt: skip
def test_a_fault_names_its_row_and_column(row: str, column: str, text: str) -> None:
    make_activity(1, goods_id="old")

    assert faults(csv_of("fine,tea,99,,,,,", row)) == [(3, column, text)]


def test_two_rows_of_the_same_goods_agree() -> None:
    make_activity(1, goods_id="old")
    make_activity(2, goods_id="second", start_at=NOW + timedelta(days=1),
                  end_at=NOW + timedelta(days=2))  # fmt: skip

    assert faults(csv_of("new,tea,99,,,s01,c01,1", "new,,,,,s01,c01,2")) == []
    [found] = faults(csv_of("new,tea,99,,,s01,c01,1", "new,tea,98,,,s01,c01,2"))
    assert found == (3, "goods id", "Row 2 has other values for these goods.")


def test_offers_that_overlap_are_refused() -> None:
    make_activity(1, goods_id="old")
    make_activity(2, goods_id="second")

    [found] = faults(csv_of("old,,,,,s01,c01,2"))
    assert found[:2] == (2, "activity id")
    assert "is already offered on this channel by 1 activity" in found[2]
    [found] = faults(csv_of("new,tea,99,,,s01,c01,1", "new,,,,,s01,c01,2"))
    assert found[2] == "Two rows offer these goods on this channel at the same time."
    Activity.objects.filter(pk=2).update(status=Activity.Status.ABANDONED)
    assert faults(csv_of("new,tea,99,,,s01,c01,1", "new,,,,,s01,c01,2")) == []


def test_with_a_fault_nothing_is_written(operator: Client) -> None:
    url = upload(operator, csv_of("fine,tea,99,,,,,", "bad,,9,,,,,"))
    page = operator.get(url).content.decode()
    assert 'name="import"' not in page
    assert "<td>3</td><td>name</td><td>This field cannot be blank.</td>" in page
    page = press(operator, url)

    assert "The file has faults: nothing was written." in page
    assert goods() == []
    assert not LogEntry.objects.exists()


def test_it_is_all_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    user = User.objects.create_superuser("operator")
    file = goods_import.keep("f", csv_of("a,tea,9,,,,,", "b,tea,9,,,,,"), by="operator", now=NOW)
    seen = goods_import.digest(goods_file.plan(bytes(file.content)))
    real = Sku.save

    def save(self: Sku, *args: Any, **kwargs: Any) -> None:
        if self.goods_id == "b":
            Sku(goods_id="b", name="of somebody else", original_price=1).save_base()
        real(self, *args, **kwargs)

    monkeypatch.setattr(Sku, "save", save)
    with pytest.raises(ValidationError, match="Somebody else has changed these goods"):
        goods_import.apply(file, user=user, reason="", seen=seen)
    assert goods() == []
    assert GoodsFile.objects.count() == 1


def test_two_files_that_collide_are_not_written_by_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    def deadlock(*_arguments: Any, **_named: Any) -> None:
        raise OperationalError(1213, "Deadlock found")

    user = User.objects.create_superuser("operator")
    file = goods_import.keep("f", csv_of("a,tea,9,,,,,"), by="operator", now=NOW)
    seen = goods_import.digest(goods_file.plan(bytes(file.content)))
    monkeypatch.setattr(LogEntry.objects, "bulk_create", deadlock)

    with pytest.raises(ValidationError, match="Somebody else has changed these goods"):
        goods_import.apply(file, user=user, reason="", seen=seen)
    assert goods() == []


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "The file is empty."),
        (b"name,price\ntea,9", "The first row has no column"),
        (b"goods_id,name,Name\n1,a,b", "The first row names a column twice."),
        (csv_of(*(f"{n},tea,9,,,,," for n in range(5001))), "more than 5000 rows"),
        (b"<html>", "The file is a web page or XML"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(content: bytes, text: str, operator: Client) -> None:
    if not content:
        with pytest.raises(ValidationError, match=text):
            goods_file.plan(content)
        return
    page = operator.get(upload(operator, content), follow=True).content.decode()

    assert text in page
    assert goods() == []


def test_unreadable_cells_of_a_workbook_are_faults() -> None:
    content = book_of([12345678901234567890, "tea", 9], ["a", "=1+1", 9])
    found = [(row, column) for row, column, _text in faults(content)]

    assert (2, "goods id") in found
    assert (3, "name") in found


def test_a_file_is_its_uploaders_own_for_an_hour(operator: Client, clock: Any) -> None:
    url = upload(operator, csv_of("a,tea,9,,,,,"))
    other = Client()
    other.force_login(User.objects.create_superuser("other"))

    clock.move_to(NOW + timedelta(minutes=59))
    assert operator.get(url).status_code == 200
    assert other.get(url).status_code == 302
    clock.move_to(NOW + timedelta(minutes=61))
    assert operator.get(url).status_code == 302
    tasks.forget_old_goods_files()
    assert not GoodsFile.objects.exists()


@pytest.mark.parametrize(("role", "status"), [("support", 403), ("operator", 200)])
def test_operators_import(role: str, status: int) -> None:
    user = User.objects.create_user("member", is_staff=True)
    user.groups.set([Group.objects.get(name=role)])
    client = Client()
    client.force_login(user)
    file = goods_import.keep("f", csv_of("a,tea,9,,,,,"), by="member", now=NOW)

    assert client.get(UPLOAD).status_code == status
    assert client.get(f"{UPLOAD}{file.pk}/").status_code == status


def test_a_large_file_takes_few_queries(django_assert_max_num_queries: Any) -> None:
    content = csv_of(*(f"g{n},tea,9,,,,," for n in range(200)))

    with django_assert_max_num_queries(6):
        assert len(goods_file.plan(content).changes) == 200


def test_known_goods_take_few_queries(django_assert_max_num_queries: Any) -> None:
    make_activity(1, goods_id="old")
    goods = [Sku(goods_id=f"g{n}", name="tea", original_price=90) for n in range(200)]
    Sku.objects.bulk_create(goods)
    content = csv_of(*(f"{each.goods_id},,,,,s01,c01,1" for each in goods))

    with django_assert_max_num_queries(8):
        assert len(goods_file.plan(content).offers) == 200


def test_rows_without_text_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(goods_file, "MOST_ROWS", 2)
    rows = ["a,tea,9,,,,,", *[",,,,,,,"] * 3, "b,tea,9,,,,,"]

    assert [each.sku.goods_id for each in goods_file.plan(csv_of(*rows)).changes] == ["a", "b"]
    with pytest.raises(ValidationError, match="more than 2 rows"):
        goods_file.plan(csv_of(*rows, "c,tea,9,,,,,"))


def test_the_history_of_an_activity_has_its_imported_offers(operator: Client) -> None:
    activity = make_activity(1, goods_id="old")
    url = upload(operator, csv_of("new,tea,90,,,s01,c01,1", "old,a book,100,,,,,"))
    press(operator, url)

    [entry] = LogEntry.objects.filter(object_id="1", content_type__model="activity")
    with translation.override("en"):
        assert text_of(entry) == f"added: offer {Offer.objects.get(sku__goods_id='new')}"
    assert str(activity) == entry.object_repr


@pytest.mark.usefixtures("english")
@pytest.mark.django_db(transaction=True)
def test_of_two_clicks_one_imports() -> None:
    user = User.objects.create_superuser("operator")
    Sku.objects.create(goods_id="a", name="tea", original_price=12)
    file = goods_import.keep("f", csv_of("a,tea,9,,,,,"), by="operator", now=NOW)
    seen = goods_import.digest(goods_file.plan(bytes(file.content)))

    click = partial(goods_import.apply, file, user=user, reason="", seen=seen)
    results = race(click, click)

    [refused] = [each for each in results if isinstance(each, ValidationError)]
    assert refused.code is None  # the file is not shown again
    assert LogEntry.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "mysql", reason="SQLite has one writer at a time")
def test_goods_are_locked_between_plan_and_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a price that somebody else saves meanwhile is overwritten, and nobody has seen it."""
    user = User.objects.create_superuser("operator")
    sku = Sku.objects.create(goods_id="a", name="tea", original_price=12)
    file = goods_import.keep("f", csv_of("a,tea,13,,,,,"), by="operator", now=NOW)
    seen, answers = goods_import.digest(goods_file.plan(bytes(file.content))), list[Any]()

    def change() -> None:
        with transaction.atomic():
            Sku.objects.select_for_update(nowait=True).get(pk=sku.pk)

    def plan(*args: Any, **kwargs: Any) -> goods_file.Plan:
        made = goods_file.plan(*args, **kwargs)
        answers.extend(race(change))
        return made

    monkeypatch.setattr(goods_import, "plan", plan)
    goods_import.apply(file, user=user, reason="", seen=seen)

    assert [type(each) for each in answers] == [OperationalError]
