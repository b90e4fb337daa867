"""RSA2: Alipay's name for SHA-256 with RSA (PKCS #1 v1.5), in base64."""

import base64
import re
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa


def sign(content: bytes, key: rsa.RSAPrivateKey) -> str:
    return base64.b64encode(key.sign(content, padding.PKCS1v15(), hashes.SHA256())).decode()


def is_signed(content: bytes, signature: str, key: rsa.RSAPublicKey) -> bool:
    try:
        key.verify(
            base64.b64decode(signature, validate=True),
            content,
            padding.PKCS1v15(),
            hashes.SHA256(),
        )
    except (InvalidSignature, ValueError):
        return False
    return True


def request_content(fields: Mapping[str, str]) -> bytes:
    """The signed text of a request: every field that is not empty, except sign."""
    return _joined({name: value for name, value in fields.items() if value and name != "sign"})


def notice_content(fields: Mapping[str, str]) -> bytes:
    """The signed text of a notification: all fields, also empty ones, but sign and sign_type."""
    return _joined({n: value for n, value in fields.items() if n not in ("sign", "sign_type")})


def private_key(text: str) -> rsa.RSAPrivateKey:
    """Read a key from PEM or from the bare base64 of Alipay's tools. Raises ValueError."""
    der = _der(text)
    key = serialization.load_der_private_key(der, password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("not an RSA key")  # noqa: TRY004  the text is wrong, not its type
    return key


def public_key(text: str) -> rsa.RSAPublicKey:
    """Read a key from PEM or bare base64. Raises ValueError."""
    key = serialization.load_der_public_key(_der(text))
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("not an RSA key")  # noqa: TRY004  the text is wrong, not its type
    return key


def _der(text: str) -> bytes:
    if not text.strip():
        raise ValueError("empty")
    bare = re.sub(r"-----[A-Z ]+-----|\s", "", text)
    return base64.b64decode(bare, validate=True)


def _joined(fields: Mapping[str, str]) -> bytes:
    return "&".join(f"{name}={fields[name]}" for name in sorted(fields)).encode()
