"""Console pages of crowds."""

import csv
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminTextareaWidget

from tag import crowd
from tag.models import CrowdJob, CrowdMember, CrowdTag

LONGEST_FILE = 200_000  # lines; more would hold up the console
HEADER = re.compile(r"user[ _-]?id|用户\s?(id|编号)?", re.IGNORECASE)
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
SEPARATORS = re.compile(r"[\s,，;；、]+")


class CrowdTagForm(forms.ModelForm):
    new_members = forms.CharField(
        label=_("New members"),
        required=False,
        widget=UnfoldAdminTextareaWidget,
        help_text=_("User ids, one per line or with commas. Who is in already stays in."),
    )

    members_file = forms.FileField(
        label=_("Members from a file"),
        required=False,
        widget=UnfoldAdminFileFieldWidget,
        help_text=_(
            "CSV or text, UTF-8, a user id at the start of each line; up to 200,000. A first line"
            " that says user_id is left out."
        ),
    )

    def clean_new_members(self) -> list[str]:
        return _checked(SEPARATORS.split(self.cleaned_data["new_members"]))

    def clean_members_file(self) -> list[str]:
        file = self.cleaned_data["members_file"]
        try:
            lines = file.read().decode("utf-8-sig").splitlines() if file else []
        except UnicodeDecodeError as exc:
            raise ValidationError(_("The file is not UTF-8.")) from exc
        if len(lines) > LONGEST_FILE:
            raise ValidationError(_("The file has more than 200,000 lines: split it."))
        first = lines[0] if lines else ""
        delimiter = next((mark for mark in ",;\t" if mark in first), ",")
        try:
            user_ids = [row[0].strip() for row in csv.reader(lines, delimiter=delimiter) if row]
        except csv.Error as exc:
            raise ValidationError(
                _("The file is no CSV: %(error)s."), params={"error": exc}
            ) from exc
        if user_ids and HEADER.fullmatch(user_ids[0]):
            del user_ids[0]
        return _checked(user_ids)


def _checked(user_ids: Iterable[str]) -> list[str]:
    found = [user_id for user_id in user_ids if user_id]
    if wrong := [each for each in found if len(each) > 64 or CONTROLS.search(each)]:
        raise ValidationError(
            _("“%(user_id)s…” is longer than 64 characters or has control characters."),
            params={"user_id": wrong[0][:20]},
        )
    return found


def save_changed(obj: Model, form: Any, change: bool) -> None:
    """What the form has changed and nothing else: rules write these rows at the same time."""
    columns = {field.name for field in obj._meta.concrete_fields}
    obj.save(update_fields=columns & set(form.changed_data) if change else None)


@admin.register(CrowdTag)
class CrowdTagAdmin(ModelAdmin):
    form = CrowdTagForm
    list_display = ["tag_id", "name", "members"]
    search_fields = ["tag_id", "name"]
    fields = ["tag_id", "name", "description", "new_members", "members_file"]

    def get_readonly_fields(self, request: HttpRequest, obj: CrowdTag | None = None) -> list[str]:
        return ["tag_id"] if obj else []

    @admin.display(description=_("members"), ordering="size")
    def members(self, tag: CrowdTag) -> Any:
        return _("counting") if tag.size is None else tag.size

    def save_model(self, request: HttpRequest, obj: CrowdTag, form: Any, change: bool) -> None:
        save_changed(obj, form, change)
        new = [*form.cleaned_data["new_members"], *form.cleaned_data["members_file"]]
        count = crowd.add_members(obj, new)
        self.message_user(request, _("The crowd has %(count)d members.") % {"count": count})


@admin.register(CrowdMember)
class CrowdMemberAdmin(ModelAdmin):
    list_display = ["user", "crowd", "job"]
    list_filter = ["part__tag"]
    list_select_related = ["user", "part__tag", "part__job"]
    search_fields = ["=user__user_id"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[CrowdMember]:
        members: QuerySet[CrowdMember] = super().get_queryset(request)
        return members.filter(part__is_live=True)

    @admin.display(description=_("crowd tag"), ordering="part__tag")
    def crowd(self, member: CrowdMember) -> str:
        return str(member.part.tag)

    @admin.display(description=_("found by"), empty_value="–")
    def job(self, member: CrowdMember) -> CrowdJob | None:
        return member.part.job

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: CrowdMember | None = None) -> bool:
        return False

    def delete_model(self, request: HttpRequest, obj: CrowdMember) -> None:
        crowd.remove_members(obj.part.tag, [obj.user.user_id])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[CrowdMember]) -> None:
        leaving = defaultdict(list)
        for member in queryset.select_related("part__tag", "user"):
            leaving[member.part.tag].append(member.user.user_id)
        for tag, user_ids in leaving.items():
            crowd.remove_members(tag, user_ids)
