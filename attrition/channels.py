"""The ways to tell a person; to add one, add a line to KINDS.

A kind makes a job: a function that sends one message within attrition.posting's bound. URLs come from the
environment variables that config.json names, and go nowhere but into the job.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from attrition import posting
from attrition.posting import Job
from attrition.settings import Alerts

if TYPE_CHECKING:
    from email.message import EmailMessage


@dataclass(frozen=True)
class Message:
    """Subject and text as a person reads them, and the same as fields for a program."""

    subject: str
    text: str
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    """A way to tell: whether it is configured, the variable with its URL, and its job."""

    asked: Callable[[Alerts], object]
    variable: Callable[[Alerts], str | None]
    job: Callable[[Alerts, Message], Job]


def webhook(settings: Alerts, message: Message) -> Job:
    # a Slack-compatible hook reads `text`, in which these three are markup; the rest is for programs
    text = message.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    fields = {"text": text, "subject": message.subject, **message.fields}
    url = os.environ.get(settings.webhook_env or "")
    return lambda sent: posting.request(url, sent, json.dumps(fields).encode(), "application/json")


def mail(settings: Alerts, message: Message) -> Job:
    from attrition import mailing

    to, url = settings.mail_to or (), os.environ.get(settings.smtp_env)
    return lambda sent: mailing.mail(url, letter(settings, message), to, sent)


def letter(settings: Alerts, message: Message) -> "EmailMessage":
    """A mail; the same alerts have the same Message-ID, so that a second copy can be told."""
    from email.message import EmailMessage
    from email.utils import format_datetime

    to = settings.mail_to or ()
    sender = settings.mail_from or to[0]
    digest = hashlib.sha256(json.dumps(message.fields).encode()).hexdigest()
    letter = EmailMessage()
    letter["Subject"] = message.subject
    letter["From"], letter["To"] = sender, ", ".join(to)
    letter["Date"] = format_datetime(datetime.now(UTC))
    letter["Message-ID"] = f"<{digest[:32]}@{sender.rpartition('@')[2]}>"
    letter["Auto-Submitted"] = "auto-generated"
    letter.set_content(message.text)
    return letter


KINDS = {
    "webhook": Kind(lambda s: s.webhook_env, lambda s: s.webhook_env, webhook),
    "mail": Kind(lambda s: s.mail_to, lambda s: s.smtp_env, mail),
}


def kinds(settings: Alerts) -> list[str]:
    """The kinds that are configured."""
    return [name for name, kind in KINDS.items() if kind.asked(settings)]
