"""Why a notification failed, in the operator's language; rows and log keep it in English."""

import re

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

REASONS = (  # of transports.py and rabbitmq.py; a placeholder takes any text
    gettext_noop("answered %(answer)s"),
    gettext_noop("no complete answer within %(seconds)s s"),
    gettext_noop("no queue is bound to %(key)s"),
    gettext_noop("the URL is not among the channel's callback hosts"),
    gettext_noop("the broker refused it"),
    gettext_noop("no message broker is set up: AMQP_URL is empty"),
    gettext_noop("the channel has no refund callback URL, and there is no message broker"),
)


def shown(reason: str) -> str:
    """The reason in the active language. Errors of the network have countless texts and stay."""
    for text in REASONS:
        pattern = re.sub(r"%\\\((\w+)\\\)s", r"(?P<\1>.+)", re.escape(text))
        if found := re.fullmatch(pattern, reason, re.DOTALL):
            return _(text) % found.groupdict()
    return reason
