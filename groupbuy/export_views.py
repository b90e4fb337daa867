"""The buttons below every list of the console, and the page of one's own exports (导出)."""

from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from groupbuy import exports, tables
from groupbuy.listing import Listing
from groupbuy.models import Export


@require_POST
def export(request: HttpRequest, app: str, model: str, kind: str) -> HttpResponse:
    """Export the list with this URL's filters: a short list at once, a long one by a worker."""
    try:
        listed = apps.get_model(app, model)
    except LookupError as exc:
        raise Http404 from exc
    asked = request.GET.copy()
    asked.pop("p", None)  # the page of the list
    query = asked.urlencode()
    try:
        listing = Listing(listed, query, request.user)  # type: ignore[arg-type]
    except IncorrectLookupParameters as exc:
        raise Http404 from exc
    if listing.has_more_than(exports.AT_ONCE):
        now = timezone.now()
        if exports.start(request.user, model=listed, query=query, kind=kind, now=now):
            messages.success(request, _("The file is being written. It appears here."))
        else:
            text = _("%(count)d of your files are not ready yet: wait for one, or delete one.")
            messages.error(request, text % {"count": exports.MOST})
        return redirect("exports")
    content = tables.file_of(kind, [listing.header, *listing.cells(listing.rows)])
    name = f"{model}-{timezone.localdate()}.{kind}"
    return HttpResponse(
        content,
        content_type=tables.TYPES[kind],
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


@require_safe
def own(request: HttpRequest) -> HttpResponse:
    """The exports of this user, each with its progress."""
    found = Export.objects.filter(user=request.user.pk).order_by("-pk")
    rows = [(each, _name(each), each.finished_at and each.finished_at + exports.KEPT)
            for each in found]  # fmt: skip
    context = admin.site.each_context(request) | {
        "title": _("My exports"),
        "rows": rows,
        "running": any(each.leased_until for each in found),
    }
    return render(request, "admin/exports.html", context)


@require_safe
def download(request: HttpRequest, export_id: int) -> Any:
    """The file, for the user who requested the export and may still see the list."""
    mine = Export.objects.filter(user=request.user.pk, error="")
    found = get_object_or_404(mine.exclude(finished_at=None), pk=export_id)
    Listing(apps.get_model(found.model), "", request.user)  # type: ignore[arg-type]
    try:
        file = exports.path_of(found).open("rb")
    except OSError as exc:
        text = _("The file is not in %(place)s: every host needs the same directory.")
        raise Http404(text % {"place": settings.MEDIA_ROOT}) from exc
    name = f"{found.model.lower()}-{timezone.localdate(found.created_at)}.{found.kind}"
    return FileResponse(
        file, as_attachment=True, filename=name, content_type=tables.TYPES[found.kind]
    )


@require_POST
def delete(request: HttpRequest, export_id: int) -> HttpResponse:
    exports.forget(get_object_or_404(Export, user=request.user.pk, pk=export_id))
    return redirect("exports")


def _name(row: Export) -> str:
    try:
        return capfirst(str(apps.get_model(row.model)._meta.verbose_name_plural))
    except LookupError:
        return row.model
