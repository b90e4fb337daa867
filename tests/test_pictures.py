"""Pictures of goods: which files may be uploaded, and how they are converted and served."""

import random
from io import BytesIO
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import translation
from PIL import Image, ImageCms

from activity import pictures
from activity.models import Sku
from tests.factories import GOODS, make_activity

SIDE = 400
NO_PICTURE = "The file is not a JPEG, PNG or WebP picture."
DAMAGED = "The file is damaged: the picture cannot be read."
ANIMATED = "The picture is animated: upload one that stands still."


@pytest.fixture(autouse=True)
def media(settings: Any, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "media"


@pytest.fixture
def operator(db: None) -> Client:
    user = User.objects.create_superuser("operator", password="operator")
    client = Client(headers={"Accept-Language": "en"})
    client.force_login(user)
    return client


def painted(mode: str = "RGB", size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    """Red above, blue below."""
    image = Image.new("RGB", size, "blue")
    image.paste("red", (0, 0, size[0], size[1] // 2))
    return image.convert(mode)


def saved(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def encoded(content: bytes) -> Image.Image:
    with translation.override("en"):
        return Image.open(BytesIO(pictures.encode(SimpleUploadedFile("picture", content))))


def kind_at(image: Image.Image, across: float, down: float) -> str:
    """Red or blue, whichever is nearer."""
    at = (int(across * image.width), int(down * image.height))
    red, _green, blue = image.convert("RGB").getpixel(at)  # type: ignore[misc]
    return "red" if red > blue else "blue"


# --- Conversion -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        saved(painted()),
        saved(painted("L").convert("RGB"), "PNG"),
        saved(painted("CMYK")),
        saved(painted("P"), "PNG"),
        saved(painted("RGBA"), "PNG"),
        saved(painted(), "WEBP"),
        saved(painted(), "MPO", save_all=True, append_images=[painted()]),
        saved(Image.new("I;16", (SIDE, SIDE), 40_000), "PNG"),
    ],
    ids=["jpeg", "png", "cmyk", "palette", "alpha", "webp", "mpo", "16 bit"],
)
def test_every_format_of_cameras_and_programs_becomes_webp(content: bytes) -> None:
    image = encoded(content)

    assert (image.format, image.size) == ("WEBP", (SIDE, SIDE))


def test_a_large_picture_is_scaled_down_and_small_enough_for_a_first_view() -> None:
    noise = Image.frombytes("RGB", (90, 60), random.Random(1).randbytes(90 * 60 * 3))
    photo = saved(noise.resize((1500, 1000)), quality=95)

    content = pictures.encode(SimpleUploadedFile("photo", photo))

    assert Image.open(BytesIO(content)).size == (800, 533)
    assert len(content) <= 60_000 < len(photo)


def test_nothing_but_pixels_is_kept() -> None:
    exif = Image.Exif()
    exif[0x010E] = "described by a secret"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)  # where it was taken
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo = saved(painted(), exif=exif, icc_profile=profile, comment=b"a secret")

    image = encoded(photo + b"<script>a secret</script>")

    image.load()
    assert set(image.info) <= {"loop", "background", "timestamp", "duration"}
    content = pictures.encode(SimpleUploadedFile("photo", photo + b"a secret"))
    assert b"secret" in photo
    assert b"secret" not in content


def test_a_picture_is_turned_as_its_exif_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down

    image = encoded(saved(painted(), exif=exif))

    assert (kind_at(image, 0.5, 0.2), kind_at(image, 0.5, 0.8)) == ("blue", "red")


def test_transparency_is_kept() -> None:
    image = painted("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, SIDE // 2, SIDE))

    found = encoded(saved(image, "PNG")).convert("RGBA")

    assert found.getpixel((10, 10))[3] == 0  # type: ignore[index]
    assert found.getpixel((SIDE - 10, 10))[3] == 255  # type: ignore[index]


def test_an_unreadable_colour_profile_is_left_out() -> None:
    image = encoded(saved(painted(), icc_profile=b"no profile" * 20))

    assert kind_at(image, 0.5, 0.2) == "red"


# --- Refusals ---------------------------------------------------------------------------------


def bomb(width: int, height: int) -> bytes:
    """A small PNG whose header announces this size."""
    content = bytearray(saved(painted(), "PNG"))
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


BAD = {
    "text": (b"hello", NO_PICTURE),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>', NO_PICTURE),
    "gif": (saved(painted("P"), "GIF"), NO_PICTURE),
    "header only": (b"\x89PNG\r\n\x1a\n", NO_PICTURE),
    "truncated jpeg": (saved(painted())[:-900], DAMAGED),
    "truncated png": (saved(painted(), "PNG")[:-300], DAMAGED),
    "truncated webp": (saved(painted(), "WEBP", quality=100)[:-300], DAMAGED),
    "one pixel": (
        saved(painted(size=(1, 1)), "PNG"),
        "The picture has 1 × 1 pixels: at least 300 × 300 are needed.",
    ),
    "a line": (
        saved(painted(size=(2000, 40))),
        "The picture has 2000 × 40 pixels: at least 300 × 300 are needed.",
    ),
    "animated png": (
        saved(painted(), "PNG", save_all=True, append_images=[painted("L").convert("RGB")]),
        ANIMATED,
    ),
    "animated webp": (
        saved(painted(), "WEBP", save_all=True, append_images=[painted("L").convert("RGB")]),
        ANIMATED,
    ),
    "many pixels": (
        saved(Image.new("L", (6000, 5000)), "PNG"),
        "The picture has more than 25 million pixels.",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_picture_of_goods_is_refused(name: str) -> None:
    content, message = BAD[name]

    with pytest.raises(ValidationError) as refused:
        encoded(content)

    assert refused.value.messages == [message]


@pytest.mark.parametrize("size", [(12_000, 9_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_a_bomb_is_refused_by_its_header(size: tuple[int, int], monkeypatch: Any) -> None:
    content = bomb(*size)
    monkeypatch.delattr(Image.Image, "convert")  # it would need gigabytes

    with pytest.raises(ValidationError) as refused:
        encoded(content)

    assert refused.value.messages == ["The picture has more than 25 million pixels."]


def test_a_file_beyond_the_limit_is_not_opened() -> None:
    content = saved(painted()) + bytes(10_000_000)

    with pytest.raises(ValidationError, match="larger than 10 MB"):
        encoded(content)


@pytest.mark.filterwarnings("ignore::UserWarning")  # about EXIF
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_file_with_broken_bytes_is_a_picture_or_is_refused(kind: str) -> None:
    """Every exception that Pillow raises for it is in BROKEN."""
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    whole = saved(painted(size=(320, 300)), kind, exif=exif, icc_profile=profile)
    chance = random.Random(7)
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 12)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        try:
            encoded(bytes(content[: chance.choice((None, chance.randrange(len(content))))]))
        except ValidationError:
            continue


# --- The console and the shops ----------------------------------------------------------------


def save(operator: Client, content: bytes | None = None, **fields: Any) -> Any:
    sku = Sku.objects.get()
    body = {
        "goods_id": GOODS,
        "name": sku.name,
        "original_price": "100.00",
        "picture": sku.picture,
        "description": "",
    } | fields
    if content is not None:
        body["upload"] = SimpleUploadedFile("photo.jpg", content)
    return operator.post(reverse("admin:activity_sku_change", args=[sku.pk]), body)


def test_an_operator_uploads_a_picture_and_shoppers_see_it(operator: Client, media: Path) -> None:
    make_activity()
    Sku.objects.update(picture="goods/9890001.svg")

    assert save(operator, saved(painted())).status_code == 302

    path = Sku.objects.get().picture
    [file] = media.iterdir()
    assert path == f"media/{file.name}"
    form = operator.get(reverse("admin:activity_sku_change", args=[Sku.objects.get().pk]))
    assert f'<img src="/{path}"' in form.content.decode()
    assert f'src="/{path}"' in Client().get(f"/o/s01/c01/{GOODS}").content.decode()
    shown = Client().get(f"/{path}")
    assert b"".join(shown.streaming_content) == file.read_bytes()  # type: ignore[attr-defined]
    assert shown["Content-Type"] == "image/webp"
    assert shown["X-Content-Type-Options"] == "nosniff"
    assert shown["Cache-Control"] == "public, max-age=31536000, immutable"
    assert shown["Content-Security-Policy"] == "default-src 'none'; sandbox"


def test_the_same_picture_is_kept_once(operator: Client, media: Path) -> None:
    make_activity()
    content = saved(painted())

    save(operator, content)
    first = Sku.objects.get().picture
    save(operator, content)

    assert (len(list(media.iterdir())), Sku.objects.get().picture) == (1, first)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_upload_names_its_field_and_changes_nothing(
    name: str, operator: Client, media: Path
) -> None:
    make_activity()
    Sku.objects.update(picture="goods/9890001.svg")
    content, message = BAD[name]

    response = save(operator, content, name="changed")

    assert response.context["adminform"].form.errors == {"upload": [message]}
    assert Sku.objects.values_list("name", "picture").get() == ("a book", "goods/9890001.svg")
    assert not media.exists()


def test_a_good_upload_in_a_form_with_another_error_is_not_stored(
    operator: Client, media: Path
) -> None:
    make_activity()

    response = save(operator, saved(painted()), name="")

    assert list(response.context["adminform"].form.errors) == ["name"]
    assert not media.exists()


def test_a_picture_that_cannot_be_stored_names_the_directory(operator: Client, media: Path) -> None:
    make_activity()
    media.write_text("a file where a directory should be")

    response = save(operator, saved(painted()))

    [error] = response.context["adminform"].form.errors["upload"]
    assert error.startswith("The picture cannot be stored in VAR_DIR/media: ")
    assert Sku.objects.get().picture == ""


def test_a_picture_that_cannot_be_stored_leaves_nothing(
    operator: Client, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    make_activity()
    monkeypatch.setattr(Path, "replace", full)

    response = save(operator, saved(painted()))

    assert list(response.context["adminform"].form.errors) == ["upload"]
    assert list(media.iterdir()) == []


@pytest.mark.parametrize(
    "path",
    ["", "x.webp", f"{'0' * 32}.webp", f"{'0' * 32}.svg", "..%2fdb.sqlite3", "../db.sqlite3"],
)
@pytest.mark.django_db
def test_there_is_no_list_and_no_other_file(path: str, media: Path) -> None:
    media.mkdir()
    (media / "x.webp").write_text("not by its hash")
    (media.parent / "db.sqlite3").write_text("a secret")

    assert Client().get(f"/media/{path}").status_code == 404


@pytest.mark.parametrize(
    ("picture", "url"),
    [
        ("goods/9890001.svg", "/static/goods/9890001.svg"),
        ("https://mall.example/1.jpg", "https://mall.example/1.jpg"),
        ("media/1f.webp", "/media/1f.webp"),
    ],
)
def test_a_picture_has_an_address(picture: str, url: str) -> None:
    assert pictures.address(picture) == url


@pytest.mark.parametrize(
    ("picture", "there"),
    [
        ("goods/9890001.svg", True),
        ("goods/gone.svg", False),
        ("goods", False),
        ("../README.md", False),
        ("a\0b", False),
        ("media/..", False),
        (f"media/{'x' * 300}", False),
        ("https://mall.example/1.jpg", False),
        ("", False),
    ],
)
def test_a_picture_is_found_below_static_and_media_only(picture: str, there: bool) -> None:
    assert (pictures.find(picture) is not None) is there
