"""Console pages of crowds."""

import re
from collections import defaultdict
from collections.abc import Collection
from itertools import islice
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import quote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Model, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminTextareaWidget

from groupbuy.biglists import BigListAdmin
from groupbuy.deletion import UsedRowsStay
from groupbuy.errors import GroupBuyError
from tag import crowd, files
from tag.models import CrowdFile, CrowdJob, CrowdMember, CrowdPart, CrowdTag, CrowdUser

SEPARATORS = re.compile(r"[\s,，;；、]+")
SHOWN = 10  # user ids of a file
ENCODINGS = {
    "utf-8": "UTF-8",
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16",
    "gb18030": "GB18030 (GBK)",
    "big5": "Big5",
    files.WORKBOOK: "Excel",
}


class CrowdTagForm(forms.ModelForm):
    new_members = forms.CharField(
        label=_("New members"),
        required=False,
        widget=UnfoldAdminTextareaWidget,
        help_text=_("User ids, one per line or with commas. Present members stay in the crowd."),
    )

    members_file = forms.FileField(
        label=_("Members from a file"),
        required=False,
        widget=UnfoldAdminFileFieldWidget(attrs={"accept": ".csv,.txt,.xlsx"}),
        help_text=_(
            "Excel (.xlsx), CSV or text, up to 200,000 rows and 8 MB. User ids are in the first"
            " column, or in the one with the header user_id. You see them before they are added."
        ),
    )

    def clean_new_members(self) -> list[str]:
        found = [each for each in SEPARATORS.split(self.cleaned_data["new_members"]) if each]
        if wrong := [each for each in found if not files.is_user_id(each)]:
            raise ValidationError(
                _("“%(user_id)s…” is longer than 64 characters or has control characters."),
                params={"user_id": wrong[0][:20]},
            )
        return found

    def clean_members_file(self) -> CrowdFile | None:
        file = self.cleaned_data["members_file"]
        if file is None:
            return None
        files.check_size(file.size)
        return CrowdFile(name=file.name, content=file.read())


def save_changed(obj: Model, form: Any, change: bool) -> None:
    """Save only the fields that the form has changed: jobs may write the other fields meanwhile."""
    columns = {field.name for field in obj._meta.concrete_fields}
    obj.save(update_fields=columns & set(form.changed_data) if change else None)


@admin.register(CrowdTag)
class CrowdTagAdmin(UsedRowsStay):
    instead = _("Delete its jobs, and take it out of discounts and activities first.")
    form = CrowdTagForm
    helps = {
        "tag_id": _(
            "A short name without spaces for the API, such as vip-2026. It stays as it is."
        ),
    }
    list_display = ["tag_id", "name", "members"]
    search_fields = ["tag_id", "name"]

    def get_fields(self, request: HttpRequest, obj: CrowdTag | None = None) -> list[str]:
        may_confirm = self.has_change_permission(request, obj)
        fields = ["tag_id", "name", "description", "new_members"]
        return [*fields, "members_file"] if may_confirm else fields

    def get_readonly_fields(self, request: HttpRequest, obj: CrowdTag | None = None) -> list[str]:
        return ["tag_id"] if obj else []

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.confirm_file)
        return [path("file/<int:file_id>/", view, name="tag_crowdtag_file"), *super().get_urls()]

    @admin.display(description=_("members"), ordering="size")
    def members(self, tag: CrowdTag) -> Any:
        return _("counting") if tag.size is None else tag.size

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        save_changed(obj, form, change)
        if new := form.cleaned_data["new_members"]:
            self._add(request, obj, new)
        if file := form.cleaned_data["members_file"]:
            form.changed_data.remove("members_file")  # nothing is added yet
            file.tag, file.by, file.uploaded_at = obj, request.user.get_username(), timezone.now()
            file.save()
            obj.file_to_confirm = file

    def response_add(self, request: HttpRequest, obj: CrowdTag, *args: Any) -> HttpResponse:
        return _to_file(obj) or super().response_add(request, obj, *args)

    def response_change(self, request: HttpRequest, obj: CrowdTag) -> HttpResponse:
        return _to_file(obj) or super().response_change(request, obj)

    def confirm_file(self, request: HttpRequest, file_id: int) -> HttpResponse:
        """Show what a file contains; add its members when its uploader confirms.

        The file is read here, not when the form is saved, because that runs in a transaction and
        reading a large workbook takes seconds.
        """
        file = files.find(file_id, by=request.user.get_username(), now=timezone.now())
        if file is None:
            text = _("This file was added or discarded, or an hour has passed: upload it again.")
            self.message_user(request, text, messages.WARNING)
            return redirect("admin:tag_crowdtag_changelist")
        if not self.has_change_permission(request, file.tag):
            raise PermissionDenied
        if "discard" in request.POST:
            return self._close(file)
        try:
            contents = files.read(bytes(file.content), request.GET.get("encoding", ""))
        except ValidationError as exc:
            self.message_user(request, f"{file.name}: {exc.messages[0]}", messages.ERROR)
            return redirect("admin:tag_crowdtag_change", quote(file.tag_id))
        if request.method == "POST":
            self._add_file(request, file, contents.user_ids)
            return self._close(file)
        context = self.admin_site.each_context(request) | _preview(file, contents)
        return render(request, "admin/crowd_file.html", context)

    def _add_file(self, request: HttpRequest, file: CrowdFile, user_ids: Collection[str]) -> None:
        """Log that these users are added to the crowd, and add them. A repeat adds nobody."""
        get_object_or_404(CrowdTag, pk=file.tag_id)  # it may have been deleted meanwhile
        text = ngettext(
            "Added %(count)d user of %(name)s.", "Added %(count)d users of %(name)s.", len(user_ids)
        )
        self.log_change(request, file.tag, text % {"count": len(user_ids), "name": file.name})
        self._add(request, file.tag, user_ids)

    def _add(self, request: HttpRequest, tag: CrowdTag, user_ids: Collection[str]) -> None:
        """Add these users to the crowd. Raises Http404 if it was deleted meanwhile."""
        try:
            crowd.add_members(tag, user_ids)
        except GroupBuyError as exc:
            raise Http404 from exc
        count = crowd.count_members(tag)
        text = _("The crowd has %(count)d members.")
        if count is None:
            count, text = crowd.COUNTED, _("The crowd has more than %(count)d members.")
        self.message_user(request, text % {"count": count})

    def _close(self, file: CrowdFile) -> HttpResponse:
        file.delete()
        return redirect("admin:tag_crowdtag_changelist")

    def delete_model(self, request: HttpRequest, obj: CrowdTag) -> None:
        crowd.discard(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[CrowdTag]) -> None:
        for tag in queryset:
            crowd.discard(tag)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Leave out the members: there may be millions."""
        return [str(tag) for tag in objs], {}, set(), []


def _to_file(tag: Any) -> HttpResponse | None:
    """Redirect to the file that was uploaded with the form, if there is one."""
    file = getattr(tag, "file_to_confirm", None)
    return redirect("admin:tag_crowdtag_file", file.pk) if file else None


def _preview(file: CrowdFile, contents: files.Contents) -> dict[str, Any]:
    return {
        "title": _("Members from a file"),
        "file": file,
        "encoding": ENCODINGS[contents.encoding],
        "rows": [(row, user_id) for user_id, row in islice(contents.user_ids.items(), SHOWN)],
        "count": len(contents.user_ids),
        "more": max(0, len(contents.user_ids) - SHOWN),
        "repeated": contents.repeated,
        "others": [
            (other.encoding, ENCODINGS[other.encoding], _first_difference(other, contents))
            for other in files.other_readings(bytes(file.content), contents)
        ],
    }


def _first_difference(other: files.Contents, contents: files.Contents) -> str:
    """A user id that shows the difference."""
    return next((each for each in other.user_ids if each not in contents.user_ids), "")


class CrowdFilter(admin.SimpleListFilter):
    title = _("crowd tag")
    parameter_name = "tag"

    def lookups(self, request: HttpRequest, page: Any) -> list[tuple[str, str]]:
        return [(tag.pk, tag.name) for tag in CrowdTag.objects.order_by("pk")]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(_in_live_parts(tag=self.value())) if self.value() else queryset


def _in_live_parts(**of: Any) -> Q:
    """Filter for live parts, by their keys: a join would read the rows of parts in progress."""
    parts = CrowdPart.objects.filter(is_live=True, **of)
    return Q(part__in=list(parts.values_list("pk", flat=True)))


@admin.register(CrowdMember)
class CrowdMemberAdmin(BigListAdmin):
    verbs = ("view", "delete")
    list_display = ["user", "crowd", "job"]
    list_filter = [CrowdFilter]
    list_select_related = ["user", "part__tag", "part__job"]
    search_fields = ["user__user_id"]
    search_help_text = _("A user id, complete")
    ordering = ["-part_id", "-user_id"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[CrowdMember]:
        members: QuerySet[CrowdMember] = super().get_queryset(request)
        return members.filter(_in_live_parts())

    def exactly(self, term: str) -> list[Q]:
        return [Q(user__in=CrowdUser.objects.filter(user_id=term))]

    @admin.display(description=_("crowd tag"))
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
        assert obj.part.tag is not None  # the part is live
        crowd.remove_members(obj.part.tag, [obj.user.user_id])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[CrowdMember]) -> None:
        leaving = defaultdict(list)
        for member in queryset.select_related("part__tag", "user"):
            leaving[member.part.tag].append(member.user.user_id)
        for tag, user_ids in leaving.items():
            assert tag is not None
            crowd.remove_members(tag, user_ids)
