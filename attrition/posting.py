"""Messages on their way out: HTTP and mail, within a bound, whatever the other side does.

A fault told here is a sentence that quotes no URL, no password and nothing a server said: each may hold a
secret. An idle tick pings through this room, so it imports the standard library alone, and late.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from email.message import EmailMessage
    from smtplib import SMTP
    from ssl import SSLContext
    from urllib.parse import SplitResult
    from urllib.request import OpenerDirector

# what one connection may wait for its next byte; the bound of a whole delivery is the caller's
SOCKET_SECONDS = 4.0
PING_SECONDS = 3.0
PAUSES = (0.5, 1.5)
HERE = ("localhost", "127.0.0.1", "::1")
NO_ADDRESS = "is no address that can be used"

Sent = Callable[[], None]
Job = Callable[[Sent], None]


class Undelivered(Exception):
    """Why a message did not arrive, as the end of a sentence.

    `again`: another try at once may help. `unclear`: it went out whole and nobody answered, so it may have
    arrived.
    """

    def __init__(self, fault: str, again: bool = False, unclear: bool = False) -> None:
        super().__init__(fault)
        self.again, self.unclear = again, unclear


def outcomes(jobs: Mapping[str, Job], seconds: float) -> Iterator[tuple[str, Undelivered | None]]:
    """Do all jobs side by side and tell of each as it ends: None is delivered. Over after `seconds`.

    A job calls the function it is given when its message has gone out whole. A job that hangs at the bound
    (a name server, a slow drip) is left to its thread, which ends with the process.
    """
    deadline = time.monotonic() + seconds
    ended: queue.SimpleQueue[tuple[str, Undelivered | None]] = queue.SimpleQueue()
    sent = {name: threading.Event() for name in jobs}
    for name, job in jobs.items():
        work = threading.Thread(
            target=lambda n=name, j=job: ended.put((n, _tried(j, sent[n], deadline))), daemon=True
        )
        work.start()
    while sent:
        try:
            name, fault = ended.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        del sent[name]
        yield name, fault
    for name, went_out in sent.items():
        yield name, Undelivered(f"gave no answer within {seconds:g} seconds", unclear=went_out.is_set())


def ping(url: str | None, what: str = "", seconds: float = PING_SECONDS) -> str | None:
    """Tell a dead-man's switch "start", "" (success), "fail" or an exit status; the fault, or None.

    The convention is healthchecks.io's (Pinging API): the word is one more part of the URL's path.
    """
    ((_, fault),) = outcomes({"ping": lambda sent: request(_ping_url(url, what), sent)}, seconds)
    return str(fault) if fault else None


def request(url: str | None, sent: Sent, body: bytes | None = None, content_type: str = "") -> None:
    """GET, or POST `body`; any answer from 200 to 299 is a yes. Through the proxy the environment names."""
    from http.client import HTTPException, InvalidURL
    from urllib.error import HTTPError, URLError
    from urllib.request import Request

    address = _address(url, ("http://", "https://"))
    headers = {"User-Agent": "attrition", **({"Content-Type": content_type} if body else {})}
    try:
        _opener(sent).open(Request(address, body, headers), timeout=SOCKET_SECONDS).close()
    except HTTPError as answer:
        answer.close()
        moved = "; a redirect is not followed, give the final address" if 300 <= answer.code < 400 else ""
        raise Undelivered(f"answered {answer.code}{moved}", again=answer.code >= 500) from None
    except InvalidURL:
        raise Undelivered(NO_ADDRESS) from None
    except URLError as error:
        raise _fault(error.reason) from None
    except (OSError, HTTPException):
        # what rises bare from urllib rose after the request was out
        raise Undelivered("broke off without an answer", unclear=True) from None


def mail(url: str | None, message: "EmailMessage", to: Sequence[str], sent: Sent) -> None:
    """Hand a mail to the server of an smtp:// or smtps:// URL, for every recipient that the server takes."""
    import logging
    import smtplib
    from email.policy import SMTP as LINES
    from urllib.parse import urlsplit

    parts = urlsplit(_address(url, ("smtp://", "smtps://")))
    try:
        with _greeted(parts) as smtp:
            code, _ = smtp.mail(message["From"].addresses[0].addr_spec)
            taken = [recipient for recipient in to if smtp.rcpt(recipient)[0] in (250, 251)]
            if code != 250 or not taken:
                raise Undelivered(f"refused {'every recipient' if code == 250 else f'the sender ({code})'}")
            if len(taken) < len(to):
                logging.getLogger("attrition").warning(
                    "the mail server takes only %d of %d recipients", len(taken), len(to)
                )
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


def _tried(job: Job, sent: threading.Event, deadline: float) -> Undelivered | None:
    """The outcome of a job after up to three tries."""
    for pause in (*PAUSES, None):
        sent.clear()
        try:
            _done(job, sent)
        except Undelivered as fault:
            if not fault.again or fault.unclear or pause is None or time.monotonic() + pause >= deadline:
                return fault
            time.sleep(pause)
        else:
            return None
    raise AssertionError("the last try returns")


def _done(job: Job, sent: threading.Event) -> None:
    """Do a job; whatever the machine or the network raises becomes Undelivered."""
    try:
        job(sent.set)
    except (OSError, ValueError) as error:
        raise _fault(error, unclear=sent.is_set()) from None


def _address(url: str | None, schemes: tuple[str, ...]) -> str:
    if not url or not url.strip():
        raise Undelivered("is not set where this run was started")
    if not url.strip().startswith(schemes):
        raise Undelivered(f"holds no URL that begins with {' or '.join(schemes)}")
    return url.strip()


def _ping_url(url: str | None, what: str) -> str:
    from urllib.parse import urlsplit

    parts = urlsplit(_address(url, ("http://", "https://")))
    path = parts.path.rstrip("/") + f"/{what}" if what else parts.path
    return parts._replace(path=path).geturl()


def _opener(sent: Sent) -> "OpenerDirector":
    """An opener that follows no redirect (it could carry the text elsewhere), and says when all is sent."""
    import ssl
    from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
    from urllib.request import HTTPHandler, HTTPRedirectHandler, HTTPSHandler, Request, build_opener

    class Stay(HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    class Plain(HTTPConnection):
        def getresponse(self) -> HTTPResponse:
            sent()
            return super().getresponse()

    class Secure(HTTPSConnection):
        def getresponse(self) -> HTTPResponse:
            sent()
            return super().getresponse()

    class Http(HTTPHandler):
        def http_open(self, request: Request) -> HTTPResponse:
            return self.do_open(Plain, request)

    class Https(HTTPSHandler):
        def https_open(self, request: Request) -> HTTPResponse:
            return self.do_open(Secure, request, context=ssl.create_default_context())

    return build_opener(Stay, Http, Https)


@contextmanager
def _greeted(parts: "SplitResult") -> Iterator["SMTP"]:
    """A mail server, encrypted and logged in to; at the end it is left without waiting for a farewell."""
    import smtplib
    import socket
    import ssl
    from urllib.parse import unquote

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


def _encrypt(smtp: "SMTP", context: "SSLContext", required: bool) -> None:
    """STARTTLS where the server knows it; without it no password is sent."""
    if smtp.has_extn("starttls"):
        smtp.starttls(context=context)
        smtp.ehlo()
    elif required:
        raise Undelivered("offers no STARTTLS, and a password is never sent in the clear; is it smtps://?")


def _fault(error: object, unclear: bool = False) -> Undelivered:
    """What an error of the machine or the network means; never its own text, which may quote a secret."""
    import socket
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        return Undelivered(f"has a certificate that is not trusted (OpenSSL's code {error.verify_code})")
    if isinstance(error, ssl.SSLError):
        return Undelivered("does not speak TLS as it should", True, unclear)
    if isinstance(error, socket.gaierror):
        return Undelivered("has a host name that is not known", True)
    if isinstance(error, TimeoutError):
        return Undelivered("gave no answer in time", True, unclear)
    if isinstance(error, OSError):
        return Undelivered(f"cannot be reached ({error.strerror or 'it broke off'})", True, unclear)
    return Undelivered(NO_ADDRESS)
