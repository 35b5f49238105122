"""Real receivers on real loopback sockets: an HTTP server, a mail server, and certificates for both."""

import base64
import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest

SECONDS = 30
Connection = socket.socket


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """A server whose `behaviour` may change while it runs; what it got whole is in its list."""

    port: int = 0
    behaviour: str = "yes"
    requests: list[Request] = field(default_factory=list)
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def taken(self) -> list[Request]:
        """The requests so far, which are then forgotten."""
        requests, self.requests = self.requests, []
        return requests


def answered(receiver: Receiver, connection: Connection) -> None:
    """One HTTP request, and the answer that the behaviour asks for."""
    stream = connection.makefile("rb")
    method, path, _ = stream.readline().decode().split()
    headers = dict(line.decode().rstrip().split(": ", 1) for line in iter(stream.readline, b"\r\n"))
    body = stream.read(int(headers.get("Content-Length", 0)))
    receiver.requests.append(Request(method, path, headers, body))
    if receiver.behaviour == "hole":
        receiver.closing.wait(SECONDS)
    elif receiver.behaviour == "reset":
        pass
    elif receiver.behaviour == "drip":
        for byte in b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1000:
            connection.send(bytes([byte]))
            if receiver.closing.wait(0.05):
                break
    else:
        status = {"yes": "200 OK", "moved": "302 Found\r\nLocation: /elsewhere"}.get(
            receiver.behaviour, f"{receiver.behaviour} No"
        )
        connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok".encode())


class MailSession:
    """One conversation in SMTP (RFC 5321), with STARTTLS (RFC 3207) and AUTH PLAIN (RFC 4954)."""

    def __init__(self, receiver: Receiver, connection: Connection, context: ssl.SSLContext | None) -> None:
        self.receiver, self.connection, self.context = receiver, connection, context
        self.stream = connection.makefile("rb")

    def hold(self) -> None:
        self.say("220 here")
        while line := self.stream.readline().decode().strip():
            verb = line.partition(" ")[0].upper()
            if verb == "QUIT":
                break
            getattr(self, verb.lower(), self.unknown)(line)
        self.stream.close()
        self.connection.close()

    def say(self, line: str) -> None:
        self.connection.sendall(f"{line}\r\n".encode())

    def unknown(self, line: str) -> None:
        self.say("500 what")

    def ehlo(self, line: str) -> None:
        encrypted = isinstance(self.connection, ssl.SSLSocket)
        offers = ["AUTH PLAIN"] if encrypted or self.receiver.behaviour == "in the clear" else []
        offers += ["STARTTLS"] if self.context and not encrypted else []
        for offer in ["hello", *offers][:-1]:
            self.say(f"250-{offer}")
        self.say(f"250 {['hello', *offers][-1]}")

    def starttls(self, line: str) -> None:
        assert self.context
        self.say("220 go")
        self.connection = self.context.wrap_socket(self.connection, server_side=True)
        self.stream = self.connection.makefile("rb")

    def auth(self, line: str) -> None:
        _, user, password = base64.b64decode(line.split()[2]).decode().split("\0")
        self.receiver.logins.append((user, password))
        self.say("535 no" if self.receiver.behaviour == "no login" else "235 welcome")

    def mail(self, line: str) -> None:
        self.say("250 ok")

    def rcpt(self, line: str) -> None:
        refused = self.receiver.behaviour == "nobody" or "unknown@" in line
        if not refused:
            self.receiver.recipients.append(line[8:].strip("<>"))
        self.say("550 who" if refused else "250 ok")

    def rset(self, line: str) -> None:
        self.say("250 ok")

    def data(self, line: str) -> None:
        self.say("354 go on")
        lines = list(iter(self.stream.readline, b".\r\n"))
        raw = b"".join(line[1:] if line.startswith(b"..") else line for line in lines)
        self.receiver.mails.append(message_from_bytes(raw, policy=default))
        self.receiver.encrypted.append(isinstance(self.connection, ssl.SSLSocket))
        if self.receiver.behaviour == "hole":
            self.receiver.closing.wait(SECONDS)
        else:
            self.say("554 no" if self.receiver.behaviour == "no data" else "250 taken")


@contextlib.contextmanager
def http(certificate: Path | None = None) -> Iterator[Receiver]:
    with _listening(answered, _context(certificate)) as receiver:
        yield receiver


@contextlib.contextmanager
def smtp(certificate: Path | None = None, at_once: bool = False) -> Iterator[Receiver]:
    """A mail server; with a certificate it offers STARTTLS, or speaks TLS `at_once`."""
    context = _context(certificate)

    def session(receiver: Receiver, connection: Connection) -> None:
        MailSession(receiver, connection, None if at_once else context).hold()

    with _listening(session, context if at_once else None) as receiver:
        yield receiver


def certificate(folder: Path) -> Path:
    """A self-signed certificate of 127.0.0.1 and localhost, its key in the same file.

    Without openssl the test is skipped, but where CI=true .ci/run has installed it.
    """
    if shutil.which("openssl") is None:
        told = "openssl, which makes the certificate, is not installed"
        pytest.fail(told) if os.environ.get("CI") == "true" else pytest.skip(told)
    place = folder / "certificate.pem"
    names = "subjectAltName=IP:127.0.0.1,DNS:localhost"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=x"]
    command += ["-addext", names, "-keyout", str(place), "-out", str(folder / "public.pem")]
    subprocess.run(command, check=True, capture_output=True)
    place.write_bytes(place.read_bytes() + (folder / "public.pem").read_bytes())
    return place


def _context(certificate: Path | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@contextlib.contextmanager
def _listening(
    serve: Callable[[Receiver, Connection], None], context: ssl.SSLContext | None
) -> Iterator[Receiver]:
    receiver = Receiver()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        receiver.port = listener.getsockname()[1]

        def session(connection: Connection) -> None:
            # who hangs up half way has his reasons
            with contextlib.suppress(OSError, ValueError), connection:
                connection.settimeout(SECONDS)
                if context is None:
                    serve(receiver, connection)
                    return
                with context.wrap_socket(connection, server_side=True) as wrapped:
                    serve(receiver, wrapped)

        def accept() -> None:
            while not receiver.closing.is_set():
                try:
                    connection, _ = listener.accept()
                except OSError:
                    time.sleep(0.01)
                    continue
                threading.Thread(target=session, args=(connection,), daemon=True).start()

        listener.settimeout(0.1)
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield receiver
        finally:
            receiver.closing.set()
            accepting.join()
