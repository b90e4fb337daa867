"""Find out which of the two Alipay keys is wrong: parse both, then send a signed query."""

from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from mall import alipay, rsa2
from mall.alipay import AlipayError, ForgedError

NUMBER = "19700101000000000000"  # an order that does not exist


class Command(BaseCommand):
    help = "Check both configured Alipay keys, offline and by a signed query to Alipay."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            own = rsa2.private_key(settings.ALIPAY_PRIVATE_KEY)
        except ValueError as exc:
            raise CommandError(f"MALL_ALIPAY_PRIVATE_KEY is not an RSA private key: {exc}") from exc
        try:
            theirs = rsa2.public_key(settings.ALIPAY_PUBLIC_KEY)
        except ValueError as exc:
            raise CommandError(f"MALL_ALIPAY_PUBLIC_KEY is not an RSA public key: {exc}") from exc
        pem = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if own.public_key().public_bytes(*pem) == theirs.public_bytes(*pem):
            raise CommandError(
                "MALL_ALIPAY_PUBLIC_KEY is the application's own public key. It has to be Alipay's:"
                " the one that the console shows after you have uploaded yours."
            )
        self.stdout.write("Both keys are readable, and they are not of one pair.")
        self._ask()

    def _ask(self) -> None:
        """Query an order that does not exist; Alipay signs that answer, too."""
        try:
            alipay.query(NUMBER, now=timezone.now())
        except ForgedError as exc:
            raise CommandError(
                "MALL_ALIPAY_PUBLIC_KEY is wrong: Alipay's answer does not verify with it."
            ) from exc
        except AlipayError as exc:
            if "sign" in exc.code:
                raise CommandError(
                    "MALL_ALIPAY_PRIVATE_KEY is wrong: Alipay does not accept our signature. Its"
                    f" public half has to be uploaded for app {settings.ALIPAY_APP_ID}. ({exc})"
                ) from exc
            raise CommandError(f"Alipay refused the query: {exc}") from exc
        self.stdout.write(f"Alipay at {settings.ALIPAY_GATEWAY} accepts and signs. All is well.")
