"""Members of a crowd from a file: uploaded, looked at, added, all through the console's pages."""

import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from io import BytesIO
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import time_machine
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from openpyxl import Workbook
from rest_framework.test import APIClient

from tag import admin, crowd, files, tasks, workbooks
from tag.crowd import members_of
from tag.models import CrowdFile, CrowdTag

pytestmark = pytest.mark.django_db
LIST = "/admin/tag/crowdtag/"
CHANGE = "/admin/tag/crowdtag/RQ/change/"


def signed_in(name: str, *permissions: str) -> Client:
    user = User.objects.create_user(name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client(headers={"Accept-Language": "en"})
    client.force_login(user)
    return client


@pytest.fixture
def _crowd() -> None:
    CrowdTag.objects.create(tag_id="RQ", name="crowd")


def upload(client: Client, content: bytes, name: str = "members.csv") -> Any:
    file = SimpleUploadedFile(name, content)
    return client.post(CHANGE, {"name": "crowd", "members_file": file})


def refusal(client: Client, content: bytes, name: str = "members.csv") -> str:
    """The error that the operator reads instead of a preview."""
    page = client.get(upload(client, content, name).url, follow=True)
    assert page.redirect_chain == [(CHANGE, 302)]
    (message,) = page.context["messages"]
    file_name, _colon, text = str(message).partition(": ")
    assert file_name == name
    assert members() == []
    return text


def form_error(answer: Any) -> str:
    assert answer.status_code == 200
    (message,) = answer.context["adminform"].form.errors["members_file"]
    assert not CrowdFile.objects.exists()
    return str(message)


def members() -> list[str]:
    return sorted(members_of("RQ").values_list("user_id", flat=True))


def workbook(*rows: list[Any]) -> bytes:
    book = Workbook()
    sheet: Any = book.active
    for row in rows:
        sheet.append(row)
    return saved(book)


def saved(book: Workbook) -> bytes:
    content = BytesIO()
    book.save(content)
    return content.getvalue()


def with_part(content: bytes, name: str, change: Callable[[bytes], bytes]) -> bytes:
    """A workbook one of whose parts is another."""
    changed = BytesIO()
    with ZipFile(BytesIO(content)) as old, ZipFile(changed, "w", ZIP_DEFLATED) as new:
        for part in old.namelist():
            new.writestr(part, change(old.read(part)) if part == name else old.read(part))
    return changed.getvalue()


CHINESE = "用户ID,姓名\r\n小傅哥,王伟\r\nu2,李娜\r\n"
WANTED = ["u2", "小傅哥"]
SHEET = "xl/worksheets/sheet1.xml"


@pytest.mark.usefixtures("_crowd")
@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (CHINESE.encode(), "UTF-8"),
        (CHINESE.encode("utf-8-sig"), "UTF-8"),
        (CHINESE.encode("gbk"), "GB18030 (GBK)"),
        (CHINESE.replace(",", "\t").encode("utf-16"), "UTF-16"),
        (CHINESE.encode("utf-16-le"), "UTF-16"),
        (b"\xfe\xff" + CHINESE.encode("utf-16-be"), "UTF-16"),
        (CHINESE.encode("utf-16-be"), "UTF-16"),
        (workbook(["用户ID", "姓名"], ["小傅哥", "王伟"], ["u2", "李娜"]), "Excel"),
    ],
    ids=["utf-8", "bom", "gbk", "utf-16", "utf-16-le", "utf-16-be bom", "utf-16-be", "xlsx"],
)
def test_nothing_is_added_before_the_preview_is_confirmed(
    operator: Client, content: bytes, encoding: str
) -> None:
    preview = upload(operator, content)
    page = operator.get(preview.url)

    assert page.context["encoding"] == encoding
    assert page.context["rows"] == [(2, "小傅哥"), (3, "u2")]
    assert "2 users are in the file." in page.content.decode()
    assert members() == []
    assert "Members from a file" not in LogEntry.objects.get().get_change_message()

    added = operator.post(preview.url, {"add": "1"}, follow=True)

    assert members() == WANTED
    assert "The crowd has 2 members." in added.content.decode()
    log = LogEntry.objects.latest("pk")
    assert (log.object_id, log.change_message) == ("RQ", "Added 2 users of members.csv.")
    assert not CrowdFile.objects.exists()


@pytest.mark.usefixtures("_crowd")
def test_the_members_of_a_large_crowd_are_not_counted(
    operator: Client, operator_api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With millions the count takes longer than a statement may, and nothing could be added."""
    monkeypatch.setattr(crowd, "COUNTED", 1)
    preview = upload(operator, CHINESE.encode())

    added = operator.post(preview.url, {"add": "1"}, follow=True)
    answers = [
        operator_api.post(f"/api/v1/gbm/tag/{name}", {"tagId": "RQ", "userIds": ["u3"]}, "json")
        for name in ("add_members", "remove_members")
    ]

    assert "The crowd has more than 1 members." in added.content.decode()
    assert [each.json()["data"] for each in answers] == [{"tagId": "RQ", "members": None}] * 2
    assert members() == WANTED


@pytest.mark.usefixtures("_crowd")
@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("用户,名\n家👪,张三\n", "gb18030"),
        ("使用者,姓名\n陳大文,1\n李小明,2\n", "big5"),
        ("vip★01\nvip★02\n", "gb18030"),
        ("".join(f"user{n}\n" for n in range(9999)) + "张三\n", "gb18030"),
    ],
)
def test_encodings_are_recognised(operator: Client, text: str, encoding: str) -> None:
    contents = operator.get(upload(operator, text.encode(encoding)).url).context

    assert contents["encoding"].lower().startswith(encoding)
    assert contents["rows"][0][1] in text


@pytest.mark.usefixtures("_crowd")
def test_the_operator_can_choose_another_encoding(operator: Client) -> None:
    """These bytes are valid UTF-8 and valid GBK."""
    preview = upload(operator, "鍝ュ摜\n".encode("gbk")).url
    page = operator.get(preview)
    assert page.context["rows"] == [(1, "哥哥")]
    assert page.context["others"] == [("gb18030", "GB18030 (GBK)", "鍝ュ摜")]

    chosen = operator.get(f"{preview}?encoding=gb18030")
    assert chosen.context["rows"] == [(1, "鍝ュ摜")]
    assert chosen.context["others"] == [("utf-8", "UTF-8", "哥哥")]
    assert operator.get(f"{preview}?encoding=idna").context["rows"] == [(1, "哥哥")]
    assert operator.get(f"{preview}?encoding=big5")["Location"] == CHANGE  # not valid in it

    operator.post(f"{preview}?encoding=gb18030", {"add": "1"})
    assert members() == ["鍝ュ摜"]


@pytest.mark.usefixtures("_crowd")
def test_plain_ids_offer_no_other_encoding(operator: Client) -> None:
    assert operator.get(upload(operator, b"a\nb\n").url).context["others"] == []


@pytest.mark.usefixtures("_crowd")
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("\ufeffa,1\r\n\r\n小傅哥,2\r\n a ,3", ["a", "小傅哥"]),
        ("User_ID,name\nb,1", ["b"]),
        ("用户ID;x\nc;2\nd;3", ["c", "d"]),
        ('"userId"\te\nuserId\t\n家👪\t1', ["userId", "家👪"]),  # only a first line is a header
        ("no,name,user id\n1,x,e\n2,y,\n3,z,f", ["e", "f"]),
        ("\n\nuser_id\ng", ["g"]),
        ("\n\nno\tuser_id\n1\tg", ["g"]),
        ("user_id\tname, title\ng\tx", ["g"]),
        ("a\rb\rc", ["a", "b", "c"]),
        ('"h,i",1', ["h,i"]),
        ("=j", ["=j"]),
    ],
)
def test_the_column_of_the_ids_is_found(operator: Client, text: str, wanted: list[str]) -> None:
    operator.post(upload(operator, text.encode()).url, {"add": "1"})

    assert members() == wanted


def test_a_file_comes_with_a_new_crowd(operator: Client) -> None:
    file = SimpleUploadedFile("m.txt", b"a\nb\na\n")
    form = {"tag_id": "RQ", "name": "crowd", "new_members": "z", "members_file": file}

    preview = operator.post(reverse("admin:tag_crowdtag_add"), form)

    assert members() == ["z"]
    page = operator.get(preview["Location"])
    assert "1 repeated row is left out." in page.content.decode()
    operator.post(preview["Location"], {"add": "1"})
    assert members() == ["a", "b", "z"]


@pytest.mark.usefixtures("_crowd")
def test_a_preview_shows_the_first_rows_only(operator: Client) -> None:
    page = operator.get(upload(operator, "\n".join(f"u{n}" for n in range(25)).encode()).url)

    assert page.context["rows"] == [(n + 1, f"u{n}") for n in range(10)]
    assert "and 15 more" in page.content.decode()


NO_TEXT = "The file is neither text nor an Excel workbook. Save it as .xlsx, or as CSV in UTF-8."
CONTROLS = "longer than 64 characters or has control characters."
OLD = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)


@pytest.mark.usefixtures("_crowd")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"user_id\r\n\r\n", "The file has no user ids."),
        (b" \n,,\n", "The file has no user ids."),
        (b"\xff\xfe", "The file has no user ids."),
        (b"ok\n" + b"x" * 65, f"Row 2: “{'x' * 20}…” is {CONTROLS}"),
        (b"ok\n\na\x01b", f"Row 3: “a\x01b…” is {CONTROLS}"),
        ("ok\na\u2028b".encode(), f"Row 2: “a\u2028b…” is {CONTROLS}"),
        (b"a\x00b", NO_TEXT),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)), NO_TEXT),
        (bytes(range(128, 256)) * 9, NO_TEXT),
        ("José\n".encode("latin-1"), NO_TEXT),
        (b'"' + b"x" * 200_000 + b'"', "The file is not a CSV file: field larger than field limit"),
        (
            b"id,user_id\n1,123456789012\n2,1.23457E+11\n",
            "Row 3: Excel has shortened a number to 1.23457E+11.",
        ),
        (
            "<html><table><tr><td>张三".encode("gbk"),
            "The file is a web page or XML: open it in Excel and save it as .xlsx or as CSV.",
        ),
        (OLD, "The file is an old Excel workbook (.xls): save it as .xlsx."),
        (
            OLD + "EncryptedPackage".encode("utf-16-le") + bytes(96),
            "The workbook has a password: save it without one.",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(
    operator: Client, content: bytes, message: str
) -> None:
    assert refusal(operator, content).startswith(message)


@pytest.mark.usefixtures("_crowd")
def test_a_crowd_that_is_deleted_while_its_file_is_read_is_not_found(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    preview, read = upload(operator, b"a\nb\n").url, files.read

    def read_slowly(*given: Any) -> files.Contents:
        crowd.discard(CrowdTag.objects.get())
        return read(*given)

    monkeypatch.setattr(files, "read", read_slowly)

    assert operator.post(preview, {"add": "1"}).status_code == 404
    assert (members(), LogEntry.objects.filter(change_message__contains="Added").count()) == ([], 0)


@pytest.mark.usefixtures("_crowd")
def test_a_crowd_that_is_deleted_while_its_form_is_saved_is_not_found(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def delete(*_args: Any) -> None:
        crowd.discard(CrowdTag.objects.get())

    monkeypatch.setattr(admin, "save_changed", delete)

    assert operator.post(CHANGE, {"name": "crowd", "new_members": "a"}).status_code == 404


@pytest.mark.usefixtures("_crowd")
def test_a_file_that_cannot_be_read_is_not_added(operator: Client) -> None:
    preview = upload(operator, b"ok\n" + b"x" * 65).url

    assert operator.post(preview, {"add": "1"})["Location"] == CHANGE
    assert members() == []


@pytest.mark.usefixtures("_crowd")
def test_large_files_are_refused(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert form_error(upload(operator, b"")) == "The submitted file is empty."
    monkeypatch.setattr(files, "LARGEST", 20)
    assert form_error(upload(operator, b"x" * 21)) == "The file is larger than 8 MB: split it."
    monkeypatch.setattr(files, "MOST_ROWS", 4)
    message = "The file has more than 200,000 rows: split it."
    assert refusal(operator, b"a\nb\nc\nd\ne") == message
    assert operator.get(upload(operator, b"a\nb\nc\nd\n\n\n\n\n").url).context["count"] == 4


@pytest.mark.usefixtures("_crowd")
def test_cells_of_a_workbook_are_read_as_they_are_shown(operator: Client) -> None:
    book = Workbook()
    sheet: Any = book.active
    sheet.append(["no", "User ID", "date"])
    values = [" a ", 12345, 12345.0, 123456789012345, 42, "0042", 1.5, "1.23e5", "=text", None, -7]
    for n, value in enumerate(values):
        sheet.append([n, value, date(2026, 1, 1)])
    sheet["B6"].number_format = "00000"
    sheet["B10"].data_type = "s"
    book.create_sheet("other").append(["ignored"])

    page = operator.get(upload(operator, saved(book), "m.xlsx").url)

    found = [user_id for _row, user_id in page.context["rows"]]
    assert found == [
        *("a", "12345", "123456789012345", "00042", "0042", "1.5", "1.23e5", "=text", "-7")
    ]
    assert page.context["rows"][-1] == (12, "-7")
    assert page.context["repeated"] == 1


def one_cell(value: Any) -> bytes:
    book = Workbook()
    sheet: Any = book.active
    sheet.append(["user_id"])
    sheet.append([value])
    return saved(book)


NOT_AN_ID = "Row 2: The cell is neither text nor a number."
ROUNDED = "Row 2: Excel has rounded the number 6.2222e+18: enter the ids as text."
UNREADABLE = "This is not a readable .xlsx workbook: copy what is needed into a new one."


@pytest.mark.usefixtures("_crowd")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (one_cell(6222200000000000001), ROUNDED),
        (one_cell(date(2026, 1, 2)), NOT_AN_ID),
        (one_cell(True), NOT_AN_ID),
        (one_cell("#N/A"), NOT_AN_ID),
        (
            one_cell('=A1&"x"'),
            "Row 2: The cell has a formula: copy the column, paste it as values.",
        ),
        (one_cell("1.23457E+11"), "Row 2: Excel has shortened a number to 1.23457E+11."),
        (one_cell("x" * 65), f"Row 2: “{'x' * 20}…” is {CONTROLS}"),
        (workbook(["user_id"]), "The file has no user ids."),
        (workbook(), "The file has no user ids."),
        (workbook(["a"])[:-200], UNREADABLE),
        (b"PK\x03\x04" + bytes(100), UNREADABLE),
        (with_part(workbook(["a"]), SHEET, lambda xml: xml[:-50]), UNREADABLE),
        (with_part(workbook(["a"]), "xl/workbook.xml", lambda xml: b""), UNREADABLE),
    ],
)
def test_a_workbook_that_cannot_be_read_is_refused(
    operator: Client, content: bytes, message: str
) -> None:
    assert refusal(operator, content, "members.xlsx").startswith(message)


@pytest.mark.usefixtures("_crowd")
def test_a_zip_that_is_no_workbook_is_refused(operator: Client) -> None:
    content = BytesIO()
    with ZipFile(content, "w") as archive:
        archive.writestr("members.csv", "a\nb\n")

    assert refusal(operator, content.getvalue(), "members.zip") == UNREADABLE


@pytest.mark.usefixtures("_crowd")
def test_a_workbook_is_not_unpacked_beyond_its_bound(operator: Client) -> None:
    """40 kB that unpack to 40 MB; then a part that is listed with a smaller size than it has."""
    spaces = b" " * (40 * 1024 * 1024)
    bomb = with_part(workbook(["a"]), SHEET, lambda xml: spaces + xml)
    assert len(bomb) < 100_000
    message = "The workbook is larger than 32 MB unpacked:"
    assert refusal(operator, bomb).startswith(message)

    with ZipFile(BytesIO(bomb)) as archive:
        size = archive.getinfo(SHEET).file_size
    lying = bomb.replace(size.to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    assert lying != bomb
    assert refusal(operator, lying) == UNREADABLE


@pytest.mark.usefixtures("_crowd")
def test_reading_a_workbook_takes_limited_memory(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row of a million cells, 5 kB zipped, takes more than 300 MB."""
    monkeypatch.setattr(workbooks, "MEMORY", 150 * 1024 * 1024)
    cells = b"<c/>" * 1_000_000
    wide = with_part(workbook(["a"]), SHEET, lambda xml: xml.replace(b"</row>", cells + b"</row>"))

    assert refusal(operator, wide) == UNREADABLE


@pytest.mark.usefixtures("_crowd")
def test_reading_a_workbook_takes_limited_time(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four million empty rows, 40 kB zipped, take a quarter of a minute."""
    monkeypatch.setattr(workbooks, "SECONDS", 1)
    rows = b"<row/>" * 4_000_000
    long = with_part(
        workbook(["a"]), SHEET, lambda xml: xml.replace(b"</sheetData>", rows + b"</sheetData>")
    )

    assert refusal(operator, long) == UNREADABLE


@pytest.mark.usefixtures("_crowd")
def test_a_reader_that_ends_before_it_has_read_the_workbook(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the system has no memory for it; a pipe holds less than the megabyte."""
    monkeypatch.setattr(workbooks, "READER", [sys.executable, "-c", "raise SystemExit(1)"])

    assert refusal(operator, workbook(["a"]) + bytes(1024 * 1024)) == UNREADABLE


@pytest.mark.usefixtures("_crowd")
def test_entities_of_a_workbook_are_not_expanded(operator: Client) -> None:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 9))
    doctype = f'<!DOCTYPE x [<!ENTITY e0 "aaaaaaaaaa">{entities}]>'

    def laughing(xml: bytes) -> bytes:
        sheet = xml.decode().replace("<v>1</v>", "<v>&e8;</v>")
        return (doctype + sheet).encode()

    content = with_part(workbook([1]), SHEET, laughing)
    assert refusal(operator, content) == UNREADABLE


@pytest.mark.usefixtures("_crowd")
def test_the_size_that_a_sheet_claims_is_ignored(operator: Client) -> None:
    claims = with_part(
        workbook(["a"], ["b"]),
        SHEET,
        lambda xml: xml.replace(b"A1:A2", b"A1:XFD1048576").replace(b'r="2"', b'r="99999999999"'),
    )
    page = operator.get(upload(operator, claims).url)

    assert page.context["rows"] == [(1, "a")]


@pytest.mark.usefixtures("_crowd")
def test_a_file_is_its_uploaders_for_an_hour(operator: Client) -> None:
    with time_machine.travel(datetime(2026, 5, 1, 12, 0, tzinfo=UTC), tick=False) as clock:
        preview = upload(operator, b"a").url
        other = signed_in("other", "view_crowdtag", "change_crowdtag").post(
            preview, {"add": "1"}, follow=True
        )
        assert "upload it again" in other.content.decode()
        clock.shift(3599)
        tasks.forget_old_files()
        assert operator.get(preview).status_code == 200
        clock.shift(1)

        assert operator.post(preview, {"add": "1"})["Location"] == LIST
        assert members() == []
        assert CrowdFile.objects.exists()
        tasks.forget_old_files()
        assert not CrowdFile.objects.exists()


@pytest.mark.usefixtures("_crowd")
def test_a_file_is_discarded(operator: Client) -> None:
    preview = upload(operator, b"a").url

    assert operator.post(preview, {"discard": "1"})["Location"] == LIST

    assert members() == []
    assert not CrowdFile.objects.exists()
    again = operator.post(preview, {"add": "1"}, follow=True)
    assert "upload it again" in again.content.decode()
    assert members() == []


@pytest.mark.usefixtures("_crowd")
def test_an_operator_that_may_no_longer_change_crowds_adds_nobody() -> None:
    editor = signed_in("editor", "view_crowdtag", "change_crowdtag")
    preview = upload(editor, b"a").url
    user = User.objects.get(username="editor")
    user.user_permissions.set(Permission.objects.filter(codename="view_crowdtag"))

    assert editor.post(preview, {"add": "1"}).status_code == 403
    assert Client().get(preview)["Location"].startswith("/admin/login/")
    assert members() == []


def test_the_form_asks_for_a_file_only_if_the_operator_may_confirm_it() -> None:
    add = reverse("admin:tag_crowdtag_add")
    assert "members_file" not in signed_in("a", "add_crowdtag").get(add).content.decode()
    both = signed_in("b", "add_crowdtag", "change_crowdtag")
    assert "members_file" in both.get(add).content.decode()
