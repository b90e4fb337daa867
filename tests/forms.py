"""Fill in the console's forms as a browser would."""

from datetime import datetime
from typing import Any

from django.test import Client
from django.urls import reverse
from django.utils import timezone


def url_of(row: Any) -> str:
    """The page on which the console changes this row."""
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def opened(operator: Client, row: Any) -> dict[str, Any]:
    """as_sent() of the form of this row."""
    return as_sent(operator.get(url_of(row)))


def as_sent(page: Any) -> dict[str, Any]:
    """What a browser sends if the form of this page is saved without a change."""
    fields = list(page.context["adminform"].form)
    for inline in page.context["inline_admin_formsets"]:
        fields += [*inline.formset.management_form]
        fields += [field for row in inline.formset.initial_forms for field in row]
    body: dict[str, Any] = {"seen": page.context["seen"]}
    for field in fields:
        value = field.value()
        if isinstance(value, datetime):
            value = timezone.localtime(value)
            value = [f"{value:%Y-%m-%d}", f"{value:%H:%M:%S}"]
        if isinstance(value, list) and field.name.endswith("_at"):
            body |= {f"{field.html_name}_{n}": part for n, part in enumerate(value)}
        elif value is not None and value is not False:
            body[field.html_name] = value
    for name in [each for each in body if each.endswith("-TOTAL_FORMS")]:
        body[name] = body[name.replace("TOTAL", "INITIAL")]
    return body
