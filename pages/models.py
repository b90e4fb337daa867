"""The only table of the pages: the hand-over links that have been used."""

from django.db import models

from groupbuy.models import Channel


class UsedLink(models.Model):
    """A hand-over link that was used, kept until it expires so that it is refused a second time."""

    channel = models.ForeignKey(Channel, on_delete=models.CASCADE, db_index=False)
    nonce = models.CharField(max_length=64)
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["channel", "nonce"], name="hand_over_link_used_once")
        ]

    def __str__(self) -> str:
        return self.nonce
