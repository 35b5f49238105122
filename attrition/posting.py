"""Messages on their way out, within a bound, whatever the other side does; and how to ask over HTTP.

A fault told here is a sentence that quotes no URL, no password and nothing a server said: each may hold a
secret. An idle tick pings through this room, so it imports the standard library alone, and late.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from urllib.request import OpenerDirector

# what one connection may wait for its next byte; the bound of a whole delivery is the caller's
SOCKET_SECONDS = 4.0
PING_SECONDS = 3.0
PAUSES = (0.5, 1.5)
NO_ADDRESS = "is no address that can be used"
UNANSWERED = "broke off without an answer"

Sent = Callable[[], None]
Job = Callable[[Sent], None]
Ended = queue.SimpleQueue[tuple[str, "Undelivered | None"]]


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
    ended: Ended = queue.SimpleQueue()
    sent = {name: threading.Event() for name in jobs}
    for name, job in jobs.items():
        work = (name, job, sent[name], deadline, ended)
        threading.Thread(target=_work, args=work, daemon=True).start()
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

    place = address(url, ("http://", "https://"))
    headers = {"User-Agent": "attrition", **({"Content-Type": content_type} if body else {})}
    try:
        # its scheme was looked at by `address`
        question = Request(place, body, headers)  # noqa: S310
        _opener(sent).open(question, timeout=SOCKET_SECONDS).close()
    except HTTPError as answer:
        answer.close()
        moved = "; a redirect is not followed, give the final address" if 300 <= answer.code < 400 else ""
        raise Undelivered(f"answered {answer.code}{moved}", again=answer.code >= 500) from None
    except InvalidURL:
        raise Undelivered(NO_ADDRESS) from None
    except URLError as error:
        raise fault_of(error.reason) from None
    except (OSError, HTTPException):
        # what rises bare from urllib rose after the request was out
        raise Undelivered(UNANSWERED, unclear=True) from None


def _work(name: str, job: Job, sent: threading.Event, deadline: float, ended: Ended) -> None:
    ended.put((name, _tried(job, sent, deadline)))


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
        raise (Undelivered(UNANSWERED, unclear=True) if sent.is_set() else fault_of(error)) from None


def address(url: str | None, schemes: tuple[str, ...]) -> str:
    """A URL as it stands in a variable, or Undelivered, which does not quote it."""
    if not url or not url.strip():
        raise Undelivered("is not set where this run was started")
    if not url.strip().startswith(schemes):
        raise Undelivered(f"holds no URL that begins with {' or '.join(schemes)}")
    return url.strip()


def _ping_url(url: str | None, what: str) -> str:
    from urllib.parse import urlsplit

    parts = urlsplit(address(url, ("http://", "https://")))
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


def fault_of(error: object) -> Undelivered:
    """What an error of the machine or the network means; never its own text, which may quote a secret."""
    import socket
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        return Undelivered(f"has a certificate that is not trusted (OpenSSL's code {error.verify_code})")
    if isinstance(error, ssl.SSLError):
        return Undelivered("does not speak TLS as it should", True)
    if isinstance(error, socket.gaierror):
        return Undelivered("has a host name that is not known", True)
    if isinstance(error, TimeoutError):
        return Undelivered("gave no answer in time", True)
    if isinstance(error, OSError):
        return Undelivered(f"cannot be reached ({error.strerror or 'it broke off'})", True)
    return Undelivered(NO_ADDRESS)
