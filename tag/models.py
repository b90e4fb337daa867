"""Crowd tags (人群标签), and the people in them."""

from django.core.validators import RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from groupbuy.ids import new_id


class CrowdTag(models.Model):
    """A named crowd that activities and discounts can be limited to.

    version is another with every change of its members, and never one that it has had before:
    not even after a backup was restored.
    """

    tag_id = models.CharField(
        _("tag id"), max_length=64, primary_key=True, validators=[RegexValidator(r"^\S+$")]
    )
    name = models.CharField(_("name"), max_length=64)
    description = models.CharField(_("description"), max_length=255, blank=True)
    version = models.BigIntegerField(_("version"), default=new_id, editable=False)

    class Meta:
        verbose_name = _("crowd tag")
        verbose_name_plural = _("crowd tags")

    def __str__(self) -> str:
        return self.name


class CrowdUser(models.Model):
    """Gives a user id a dense number, once and for ever."""

    user_id = models.CharField(_("user id"), max_length=64, unique=True)

    class Meta:
        verbose_name = _("crowd user")
        verbose_name_plural = _("crowd users")

    def __str__(self) -> str:
        return self.user_id


class CrowdMember(models.Model):
    """This user is in this crowd."""

    tag = models.ForeignKey(
        CrowdTag,
        verbose_name=_("crowd tag"),
        on_delete=models.CASCADE,
        related_name="members",
        db_index=False,
    )
    user = models.ForeignKey(CrowdUser, verbose_name=_("user"), on_delete=models.PROTECT)

    class Meta:
        verbose_name = _("crowd member")
        verbose_name_plural = _("crowd members")
        constraints = [models.UniqueConstraint(fields=["tag", "user"], name="member_once")]

    def __str__(self) -> str:
        return f"{self.user} in {self.tag_id}"
