"""Console pages that import goods and offers (商品导入): upload, preview, confirm."""

from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.decorators import action
from unfold.widgets import UnfoldAdminFileFieldWidget

from activity import goods_file, goods_import
from activity.goods_file import LABELS, Plan
from tag import files

NEEDED = ("activity.add_sku", "activity.change_sku", "activity.add_offer")
SHOWN = 50  # changes of a preview
LIST = "admin:activity_sku_changelist"


class UploadForm(forms.Form):
    file = forms.FileField(
        label=gettext_lazy("file"),
        widget=UnfoldAdminFileFieldWidget(attrs={"accept": ".csv,.txt,.xlsx"}),
        help_text=gettext_lazy("Excel (.xlsx) or CSV, up to 5,000 rows and 8 MB."),
    )

    def clean_file(self) -> UploadedFile:
        file: UploadedFile = self.cleaned_data["file"]
        files.check_size(file.size or 0)
        return file


class ImportsGoods:
    """For the page of goods."""

    actions_list = ["upload"]
    admin_site: Any

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.confirm)
        urls: list[Any] = super().get_urls()  # type: ignore[misc]
        return [path("import/<int:file_id>/", view, name="activity_sku_import"), *urls]

    def has_import_permission(self, request: HttpRequest) -> bool:
        user: Any = request.user
        return bool(user.has_perms(NEEDED))

    @action(description=gettext_lazy("Import"), url_path="import", permissions=["import"])
    def upload(self, request: HttpRequest) -> HttpResponse:
        form = UploadForm(request.POST or None, request.FILES or None)
        if form.is_valid():
            file: UploadedFile = form.cleaned_data["file"]
            by = request.user.get_username()
            kept = goods_import.keep(file.name or "", file.read(), by=by, now=timezone.now())
            return redirect("admin:activity_sku_import", kept.pk)
        context = self.admin_site.each_context(request) | {
            "title": _("Import goods and offers"),
            "form": form,
            "columns": LABELS.items(),
        }
        return render(request, "admin/import_upload.html", context)

    def confirm(self, request: HttpRequest, file_id: int) -> HttpResponse:
        """Show what the file would change; apply it when its uploader confirms."""
        if not self.has_import_permission(request):
            raise PermissionDenied
        by = request.user.get_username()
        file = goods_import.find(file_id, by=by, now=timezone.now())
        if file is None:
            text = _("This file was imported or discarded, or an hour has passed: upload it again.")
            self.message_user(request, text, "warning")  # type: ignore[attr-defined]
            return redirect(LIST)
        if "discard" in request.POST:
            file.delete()
            return redirect(LIST)
        try:
            if request.method == "POST":
                reason = request.POST.get("reason", "").strip()[:200]
                seen = request.POST.get("seen", "")
                done = goods_import.apply(file, user=request.user, reason=reason, seen=seen)
                return self._report(request, done)
            plan = goods_file.plan(bytes(file.content))
        except ValidationError as exc:
            self.message_user(request, f"{file.name}: {exc.messages[0]}", "error")  # type: ignore[attr-defined]
            if getattr(exc, "code", "") == "again":
                return redirect(request.path)
            return redirect("admin:activity_sku_upload")
        context = self.admin_site.each_context(request) | _preview(plan) | {"file": file}
        return render(request, "admin/import_preview.html", context)

    def _report(self, request: HttpRequest, plan: Plan) -> HttpResponse:
        text = _("Imported: %(new)d new goods, %(changed)d changed, %(offers)d offers added.")
        new = sum(each.is_new for each in plan.changes)
        counts = {"new": new, "changed": len(plan.changes) - new, "offers": len(plan.offers)}
        self.message_user(request, text % counts)  # type: ignore[attr-defined]
        return redirect(LIST)


def _preview(plan: Plan) -> dict[str, Any]:
    return {
        "title": _("Import goods and offers"),
        "plan": plan,
        "seen": goods_import.digest(plan),
        "changes": plan.changes[:SHOWN],
        "more": max(0, len(plan.changes) - SHOWN),
        "offers": plan.offers[:SHOWN],
        "more_offers": max(0, len(plan.offers) - SHOWN),
    }
