"""Pictures of goods (商品图片): uploads, checked and encoded again, and where pictures are found.

Sku.picture is a URL, a path below static/, or the path of an upload: media/ and the hash of its
content. An upload is decoded, turned upright and scaled down, so the file that is served has only
pixels: no EXIF, no position, nothing that a browser could run.
"""

import os
import struct
import tempfile
from contextlib import suppress
from hashlib import blake2b
from io import BytesIO
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.exceptions import SuspiciousFileOperation, ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.templatetags.static import static
from django.utils.translation import gettext as _
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

MEDIA = "media/"
FORMATS = ("JPEG", "PNG", "WEBP")
MEGABYTES = 10  # of an upload
MEGAPIXELS = 25  # decoded at once, 4 bytes each
SMALLEST = 300  # pixels of the shorter side; chats show no smaller picture of a link
LARGEST = 800  # pixels of the longer side, as kept
KEPT = 60_000  # bytes, so that an offer's first view stays below 100 kB
QUALITIES = (82, 70, 58, 46, 34)  # the first that is small enough, or the last
# What Pillow raises for files that violate their format.
BROKEN = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, struct.error)
BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)
ORIENTATIONS = {  # of a camera, by its number in EXIF
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def encode(upload: UploadedFile) -> bytes:
    """The picture as WebP. Raises ValidationError for a file that is no picture of goods."""
    if (upload.size or 0) > MEGABYTES * 1_000_000:
        raise ValidationError(_("The file is larger than %(n)d MB."), params={"n": MEGABYTES})
    try:
        with Image.open(upload, formats=FORMATS) as image:
            _require_fit(image)
            return _webp(_upright(image))
    except BOMB as exc:
        raise _too_many_pixels() from exc
    except UnidentifiedImageError as exc:
        raise ValidationError(_("The file is not a JPEG, PNG or WebP picture.")) from exc
    except BROKEN as exc:
        raise ValidationError(_("The file is damaged: the picture cannot be read.")) from exc


def store(content: bytes) -> str:
    """Store the picture in MEDIA_ROOT and return its path. A repeat changes nothing.

    Raises OSError if MEDIA_ROOT cannot be written to.
    """
    name = f"{blake2b(content, digest_size=16).hexdigest()}.webp"
    root = Path(settings.MEDIA_ROOT)
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=root, suffix=".part", delete=False) as file:
        part = Path(file.name)
        try:
            file.write(content)
            file.flush()
            part.chmod(0o644)  # a proxy of another user serves it
            part.replace(root / name)
        except OSError:
            part.unlink()
            raise
    return f"{MEDIA}{name}"


def address(picture: str) -> str:
    """The URL at which browsers find the picture."""
    if "//" in picture:
        return picture
    if picture.startswith(MEDIA):
        return f"{settings.MEDIA_URL}{picture.removeprefix(MEDIA)}"
    return static(picture)


def find(picture: str) -> Path | None:
    """The picture's file on this machine; None for a URL, and for a file that is gone."""
    if not picture or "//" in picture:
        return None
    found: str | None = None
    if picture.startswith(MEDIA):
        found = f"{settings.MEDIA_ROOT}/{Path(picture).name}"
    else:
        with suppress(SuspiciousFileOperation, ValueError):
            found = finders.find(picture)
    return Path(found) if found and os.path.isfile(found) else None  # noqa: PTH113  too long: False


def _require_fit(image: Image.Image) -> None:
    """Check size and format by the header alone. Raises ValidationError."""
    width, height = image.size
    if width * height > MEGAPIXELS * 1_000_000:
        raise _too_many_pixels()
    if min(width, height) < SMALLEST:
        raise ValidationError(
            _("The picture has %(width)d × %(height)d pixels: at least %(n)d × %(n)d are needed."),
            params={"width": width, "height": height, "n": SMALLEST},
        )
    # A phone's JPEG may hold a second picture (MPO), such as its depth: the first one is meant.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise ValidationError(_("The picture is animated: upload one that stands still."))


def _too_many_pixels() -> ValidationError:
    return ValidationError(
        _("The picture has more than %(n)d million pixels."), params={"n": MEGAPIXELS}
    )


def _upright(image: Image.Image) -> Image.Image:
    """Turn the picture the right way up, convert it to sRGB and shrink it to LARGEST."""
    turn = None
    with suppress(*BROKEN):  # EXIF that nobody can read is no reason to refuse a picture
        turn = ORIENTATIONS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    image.draft(image.mode, (LARGEST, LARGEST))  # a JPEG is decoded at about the size it is kept in
    image = _to_srgb(image)
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    return image.transpose(turn) if turn is not None else image


def _to_srgb(image: Image.Image) -> Image.Image:
    mode = "RGBA" if image.has_transparency_data else "RGB"
    profile = image.info.get("icc_profile")
    if image.mode == "I;16":
        image = image.point(lambda value: value / 256).convert("L")
    if profile and image.mode in ("RGB", "RGBA", "CMYK"):
        with suppress(ImageCms.PyCMSError, OSError):  # unreadable: the colours are taken as sRGB
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            target = ImageCms.createProfile("sRGB")
            as_before = "RGB" if image.mode == "CMYK" else image.mode
            image = ImageCms.profileToProfile(image, source, target, outputMode=as_before) or image
    return image.convert(mode)


def _webp(image: Image.Image) -> bytes:
    content = b""
    for quality in QUALITIES:
        out = BytesIO()
        image.save(out, "WEBP", quality=quality, method=4)
        content = out.getvalue()
        if len(content) <= KEPT:
            break
    return content
