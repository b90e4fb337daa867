"""Keys for the demo: pairs for the application and for the pretend Alipay, and new key files."""

import os
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

PEM = serialization.Encoding.PEM


def make_demo_keys(directory: Path) -> None:
    """Write app_*.pem and alipay_*.pem, private and public, unless they exist.

    Processes that start together agree on one pair: the first private key stays.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("app", "alipay"):
        private, public = (directory / f"{name}_{half}.pem" for half in ("private", "public"))
        if not private.exists():
            add(private, _new_key())
        if not public.exists():
            key = serialization.load_pem_private_key(private.read_bytes(), password=None)
            kind = serialization.PublicFormat.SubjectPublicKeyInfo
            add(public, key.public_key().public_bytes(PEM, kind))


def _new_key() -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def add(path: Path, content: bytes) -> None:
    """Write a complete file that only its owner can read, unless it exists."""
    with NamedTemporaryFile(dir=path.parent) as file:
        file.write(content)
        file.flush()
        with suppress(FileExistsError):
            os.link(file.name, path)
