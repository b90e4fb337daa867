"""The tools that change something. They need --allow-writes and an operator key.

Each needs a reason, is a dry run unless dry_run is false, and logs the change with the operator and
the reason.
"""

import logging
from typing import Annotated, Any

from django.core.exceptions import ValidationError
from django.utils import timezone
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import StringConstraints

from assistant import operators
from groupbuy import gcra, switches, throttling
from trade.notify import outbox
from trade.notify.replay import chosen_by_key, chosen_by_range

logger = logging.getLogger(__name__)

MOST = 1000  # notifications that one call sends again
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


def send_again(
    ctx: Context[Any, Any],
    reason: Reason,
    keys: list[str] | None = None,
    endpoint: str = "",
    dry_run: bool = True,
) -> dict[str, Any]:
    """Send notifications again: those with these keys, or all undelivered ones to an endpoint."""
    operator = operators.operator_of(ctx.headers)
    if bool(keys) == bool(endpoint):
        raise ToolError("Name either keys or an endpoint.")
    try:
        chosen = (
            chosen_by_key(keys)
            if keys
            else chosen_by_range(endpoint=endpoint, since=None, until=None, delivered=False)
        )
    except ValueError as exc:
        raise ToolError(f"There is no notification {exc}.") from exc
    count = chosen.count()
    if count > MOST:
        raise ToolError(f"{count} are more than {MOST}: use manage.py replay_notifications.")
    if not dry_run:
        _log(operator, f"{count} notifications are sent again ({endpoint or keys})", reason)
        count = outbox.requeue(chosen, now=timezone.now())
    return {"notifications": count, "dry run": dry_run}


def lift_block(
    ctx: Context[Any, Any], scope: str, client: str, reason: Reason, dry_run: bool = True
) -> dict[str, Any]:
    """Unblock a client that callback_health lists, by its scope and name."""
    operator = operators.operator_of(ctx.headers)
    blocks = gcra.blocks(throttling.scopes())
    if blocks is None:
        raise ToolError("Redis does not respond, so no client is limited or blocked.")
    if not any((block.scope, block.client) == (scope, client) for block in blocks):
        raise ToolError("This client is not blocked.")
    if not dry_run:
        _log(operator, f"{client} of {scope} is unblocked", reason)
        if gcra.lift(scope, client) is None:
            raise ToolError("Redis did not respond: check by callback_health if it is lifted.")
    return {"unblocked": client, "dry run": dry_run}


def change_switch(
    ctx: Context[Any, Any], key: str, value: str, reason: Reason, dry_run: bool = True
) -> dict[str, Any]:
    """Change a live switch; read_switches lists them."""
    operator = operators.operator_of(ctx.headers)
    key, value = switches.OTHER_SPELLINGS.get(key, key), switches.tidy(value)
    try:
        switches.validate(key, value)
    except ValidationError as exc:
        raise ToolError("; ".join(exc.messages)) from exc
    if switches.needs_second(key):
        raise ToolError(f"Refused: {switches.NEEDS_SECOND}.")
    before = switches.text(switches.Key(key))
    if not dry_run:
        switches.change(key, value, by=operator, reason=reason)
        _log(operator, f"switch {key}: {before} → {value}", reason)
    return {"switch": key, "before": before, "after": value, "dry run": dry_run}


WRITE = (send_again, lift_block, change_switch)


def _log(operator: str, what: str, reason: str) -> None:
    logger.warning("%s, by %s: %s", what, operator, reason, extra={"operator": operator})
