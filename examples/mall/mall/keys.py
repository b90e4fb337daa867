"""Key pairs for the demo: the application's, and the pretend Alipay's."""

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


def make_demo_keys(directory: Path) -> None:
    """Write NAME_private.pem and NAME_public.pem of both, unless they are there."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("app", "alipay"):
        path = directory / f"{name}_private.pem"
        if not path.exists():
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            public = key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            (directory / f"{name}_public.pem").write_bytes(public)
            private = key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            path.touch(mode=0o600)
            path.write_bytes(private)
