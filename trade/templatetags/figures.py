"""Template tags of the console's pictures."""

from decimal import Decimal
from typing import Any

from django import template
from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe

from trade.figures import drawing as draw
from trade.figures.drawing import Drawing

register = template.Library()


@register.simple_tag
def picture(drawing: Drawing) -> SafeString:
    """The drawing as SVG. Its template escapes every text."""
    svg = render_to_string("admin/figures/drawing.svg", {"drawing": drawing})
    return mark_safe(svg)  # noqa: S308


@register.filter
def yuan(value: Decimal) -> str:
    """Money, rounded."""
    return draw.money(value)


@register.filter
def cell(value: Any) -> str:
    """A number of a table with separators; anything else as it is."""
    return str(value) if isinstance(value, str) or hasattr(value, "year") else draw.number(value)
