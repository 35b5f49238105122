"""Mail to a server of SMTP, encrypted where a password or another machine is concerned."""

import logging
import smtplib
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from email.policy import SMTP as LINES
from urllib.parse import SplitResult, unquote, urlsplit

from attrition.posting import SOCKET_SECONDS, Sent, Undelivered, address

log = logging.getLogger("attrition")

HERE = ("localhost", "127.0.0.1", "::1")


def mail(url: str | None, message: EmailMessage, to: Sequence[str], sent: Sent) -> None:
    """Hand a mail to the server of an smtp:// or smtps:// URL, for every recipient that the server takes."""
    parts = urlsplit(address(url, ("smtp://", "smtps://")))
    try:
        with _greeted(parts) as smtp:
            code, _ = smtp.mail(message["From"].addresses[0].addr_spec)
            taken = [recipient for recipient in to if smtp.rcpt(recipient)[0] in (250, 251)]
            if code != 250 or not taken:
                raise Undelivered(f"refused {'every recipient' if code == 250 else f'the sender ({code})'}")
            if len(taken) < len(to):
                log.warning("the mail server takes only %d of %d recipients", len(taken), len(to))
            sent()
            code, _ = smtp.data(message.as_bytes(policy=LINES))
            if code != 250:
                raise Undelivered(f"refused the mail ({code})")
    except smtplib.SMTPResponseException as answer:
        # 4xx: try again later, as the server says itself
        raise Undelivered(f"answered {answer.smtp_code}", again=answer.smtp_code < 500) from None
    except smtplib.SMTPServerDisconnected:
        raise
    except smtplib.SMTPException as error:
        raise Undelivered(f"cannot take the mail ({type(error).__name__})") from None


@contextmanager
def _greeted(parts: SplitResult) -> Iterator[smtplib.SMTP]:
    """A mail server, encrypted and logged in to; at the end it is left without waiting for a farewell."""
    # by its own name: looking up the full one can take longer than the mail
    host, name, context = parts.hostname or "", socket.gethostname(), ssl.create_default_context()
    smtp: smtplib.SMTP
    if parts.scheme == "smtps":
        smtp = smtplib.SMTP_SSL(host, parts.port or 465, name, timeout=SOCKET_SECONDS, context=context)
    else:
        smtp = smtplib.SMTP(host, parts.port or 587, name, timeout=SOCKET_SECONDS)
    try:
        smtp.ehlo_or_helo_if_needed()
        if parts.scheme == "smtp" and (parts.password or host not in HERE):
            _encrypt(smtp, context, required=bool(parts.password))
        if parts.password:
            smtp.login(unquote(parts.username or ""), unquote(parts.password))
        yield smtp
    finally:
        with suppress(OSError):
            smtp.putcmd("quit")
        smtp.close()


def _encrypt(smtp: smtplib.SMTP, context: ssl.SSLContext, required: bool) -> None:
    """STARTTLS where the server knows it; without it no password is sent."""
    if smtp.has_extn("starttls"):
        smtp.starttls(context=context)
        smtp.ehlo()
    elif required:
        raise Undelivered("offers no STARTTLS, and a password is never sent in the clear; is it smtps://?")
