"""Fill in the console's forms as a browser would."""

from html.parser import HTMLParser
from typing import Any

from django.test import Client
from django.urls import reverse

TEXTS = ("text", "number", "email", "hidden")


class Fields(HTMLParser):
    """The form data that a browser sends for an untouched form."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.values: dict[str, Any] = {}
        self._name = ""  # of the list or the long text that is open
        self._many = False
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        named = dict(attributes)
        if tag in ("select", "textarea"):
            self._name, self._many = named.get("name") or "", "multiple" in named
        elif tag == "option" and "selected" in named:
            chosen = self.values.get(self._name, [])
            self.values[self._name] = [*chosen, named["value"]] if self._many else named["value"]
        elif tag == "input" and named.get("name"):
            kind = named.get("type", "text")
            if kind in TEXTS or (kind == "checkbox" and "checked" in named):
                self.values[named["name"]] = named.get("value", "on" if kind == "checkbox" else "")

    def handle_data(self, data: str) -> None:
        if self.lasttag == "textarea" and self._name:
            self.values[self._name] = data.removeprefix("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("select", "textarea"):
            self._name = ""


def url_of(row: Any) -> str:
    """The page on which the console changes this row."""
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def opened(operator: Client, row: Any) -> dict[str, Any]:
    """What a browser sends for the untouched form of this row."""
    return as_sent(operator.get(url_of(row)))


def as_sent(page: Any) -> dict[str, Any]:
    """What a browser sends for the untouched form of this answer."""
    return Fields(page.content.decode()).values
