"""Console pages of crowds."""

import re
from collections import defaultdict
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminTextareaWidget

from tag import crowd
from tag.models import CrowdMember, CrowdTag

SEPARATORS = re.compile(r"[\s,，;；、]+")


class CrowdTagForm(forms.ModelForm):
    new_members = forms.CharField(
        label=_("New members"),
        required=False,
        widget=UnfoldAdminTextareaWidget,
        help_text=_("User ids, one per line or with commas. Who is in already stays in."),
    )

    def clean_new_members(self) -> list[str]:
        user_ids = [each for each in SEPARATORS.split(self.cleaned_data["new_members"]) if each]
        if too_long := [user_id for user_id in user_ids if len(user_id) > 64]:
            raise ValidationError(
                _("“%(user_id)s…” is longer than 64 characters."),
                params={"user_id": too_long[0][:20]},
            )
        return user_ids


@admin.register(CrowdTag)
class CrowdTagAdmin(ModelAdmin):
    form = CrowdTagForm
    list_display = ["tag_id", "name", "members_count"]
    search_fields = ["tag_id", "name"]
    fields = ["tag_id", "name", "description", "new_members"]

    def get_readonly_fields(self, request: HttpRequest, obj: CrowdTag | None = None) -> list[str]:
        return ["tag_id"] if obj else []

    def get_queryset(self, request: HttpRequest) -> QuerySet[CrowdTag]:
        tags: QuerySet[CrowdTag] = super().get_queryset(request)
        return tags.annotate(size=Count("members"))

    @admin.display(description=_("members"), ordering="size")
    def members_count(self, tag: Any) -> str:
        return str(tag.size)

    def save_model(self, request: HttpRequest, obj: CrowdTag, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        count = crowd.add_members(obj, form.cleaned_data["new_members"])
        self.message_user(request, _("The crowd has %(count)d members.") % {"count": count})


@admin.register(CrowdMember)
class CrowdMemberAdmin(ModelAdmin):
    list_display = ["user", "tag"]
    list_filter = ["tag"]
    list_select_related = ["user", "tag"]
    search_fields = ["=user__user_id"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: CrowdMember | None = None) -> bool:
        return False

    def delete_model(self, request: HttpRequest, obj: CrowdMember) -> None:
        crowd.remove_members(obj.tag, [obj.user.user_id])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[CrowdMember]) -> None:
        leaving = defaultdict(list)
        for member in queryset.select_related("tag", "user"):
            leaving[member.tag].append(member.user.user_id)
        for tag, user_ids in leaving.items():
            crowd.remove_members(tag, user_ids)
