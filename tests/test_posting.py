"""Messages reach real servers, and servers in every kind of trouble hold nobody up."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from attrition import channels, mailing, posting
from attrition.channels import Message
from attrition.posting import Job, Undelivered
from attrition.settings import Alerts
from tests import receivers
from tests.projects import CHECKOUT
from tests.receivers import Receiver
from tests.servers import free_port

SECRET = "s3cr3t"
MESSAGE = Message("Größe <1>", "a & b <c>\n.\n..end", {"alerts": []})


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receivers.http() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return receivers.certificate(tmp_path_factory.mktemp("certificate"))


def outcome(job: Job, seconds: float = 10.0) -> Undelivered | None:
    ((_, fault),) = posting.outcomes({"it": job}, seconds)
    return fault


def posted(url: str, seconds: float = 10.0) -> Undelivered | None:
    return outcome(lambda sent: posting.request(url, sent, b"{}", "application/json"), seconds)


def mailed(url: str, to: str | list[str] = "ops@example.org", seconds: float = 10.0) -> Undelivered | None:
    settings = Alerts.model_validate({"mail_to": tuple([to] if isinstance(to, str) else to)})
    mail = channels.letter(settings, MESSAGE)
    return outcome(lambda sent: mailing.mail(url, mail, settings.mail_to or (), sent), seconds)


def test_a_request_arrives_once_as_it_was_sent(hook: Receiver) -> None:
    assert posted(f"http://127.0.0.1:{hook.port}/{SECRET}?a=b") is None
    (request,) = hook.requests
    assert (request.method, request.path, request.body) == ("POST", f"/{SECRET}?a=b", b"{}")
    assert request.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("behaviour", "seconds", "told", "tries", "unclear"),
    [
        ("500", 30, "answered 500", 3, False),
        ("404", 30, "answered 404", 1, False),
        ("moved", 30, "answered 302; a redirect is not followed, give the final address", 1, False),
        ("reset", 30, "broke off without an answer", 1, True),
        ("hole", 3, "gave no answer within 3 seconds", 1, True),
        ("hole", 30, "broke off without an answer", 1, True),
        ("drip", 3, "gave no answer within 3 seconds", 1, True),
    ],
)
def test_a_server_in_trouble_is_a_sentence(
    hook: Receiver, behaviour: str, seconds: float, told: str, tries: int, unclear: bool
) -> None:
    hook.behaviour = behaviour
    fault = posted(f"http://127.0.0.1:{hook.port}/{SECRET}", seconds)
    assert fault and (str(fault), fault.unclear) == (told, unclear)
    assert len(hook.requests) == tries


def test_a_server_that_recovers_at_once_costs_no_second_tick(hook: Receiver) -> None:
    hook.behaviour = "503"

    def job(sent: posting.Sent) -> None:
        try:
            posting.request(f"http://127.0.0.1:{hook.port}/", sent, b"{}", "application/json")
        finally:
            hook.behaviour = "yes"

    assert outcome(job) is None
    assert len(hook.requests) == 2


def test_one_that_hangs_does_not_hold_up_the_other(hook: Receiver) -> None:
    with receivers.http() as slow:
        slow.behaviour = "hole"
        jobs: dict[str, Job] = {
            name: lambda sent, port=port: posting.request(f"http://127.0.0.1:{port}/", sent)  # type: ignore[misc]
            for name, port in (("slow", slow.port), ("quick", hook.port))
        }
        told = posting.outcomes(jobs, 3.0)
        assert next(told) == ("quick", None)
        name, fault = next(told)
    assert name == "slow" and "within 3 seconds" in str(fault)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (None, "is not set where this run was started"),
        (" ", "is not set where this run was started"),
        (f"file:///{SECRET}", "holds no URL that begins with http:// or https://"),
        (f"ftp://{SECRET}", "holds no URL that begins with http:// or https://"),
        (f"http://127.0.0.1:{SECRET}/", "is no address that can be used"),
        (f"http://127.0.0.1/{SECRET} x\r\nHost: y", "is no address that can be used"),
        (f"http://[::{SECRET}/", "is no address that can be used"),
    ],
)
def test_what_is_no_address_is_told_without_quoting_it(url: str | None, told: str) -> None:
    fault = outcome(lambda sent: posting.request(url, sent))
    assert str(fault) == told


def test_a_closed_port_and_an_unknown_host_are_sentences() -> None:
    closed = posted(f"http://127.0.0.1:{free_port()}/{SECRET}")
    assert closed and str(closed) == "cannot be reached (Connection refused)"
    # a name server may answer or be out of reach itself: either way within the bound, and surely not arrived
    unknown = posted(f"http://nowhere.invalid/{SECRET}", 3.0)
    assert unknown and not unknown.unclear and SECRET not in str(unknown)


def test_what_hangs_before_anything_is_sent_has_surely_not_arrived() -> None:
    # a name server that never answers holds the thread; nothing but the bound ends the wait
    fault = outcome(lambda sent: time.sleep(30), 0.2)
    assert fault and (str(fault), fault.unclear) == ("gave no answer within 0.2 seconds", False)


def test_tls_is_checked(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with receivers.http(certificate) as hook:
        url = f"https://127.0.0.1:{hook.port}/{SECRET}"
        assert "certificate that is not trusted" in str(posted(url))
        assert hook.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert posted(url) is None
        assert str(posted(f"http://127.0.0.1:{hook.port}/")) == "broke off without an answer"
    with receivers.http() as plain:
        assert str(posted(f"https://127.0.0.1:{plain.port}/")) == "does not speak TLS as it should"


def test_a_proxy_of_the_environment_is_used(hook: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{hook.port}")
    assert posted("http://hook.invalid/path") is None
    assert hook.requests[0].path == "http://hook.invalid/path"


@pytest.mark.parametrize(
    ("url", "what", "path"),
    [
        ("/ping/abc", "start", "/ping/abc/start"),
        ("/ping/abc", "", "/ping/abc"),
        ("/ping/abc/", "4", "/ping/abc/4"),
        ("/ping?token=x", "fail", "/ping/fail?token=x"),
    ],
)
def test_a_ping_follows_the_convention(hook: Receiver, url: str, what: str, path: str) -> None:
    assert posting.ping(f"http://127.0.0.1:{hook.port}{url}", what) is None
    assert [(request.method, request.path) for request in hook.requests] == [("GET", path)]


def test_a_mail_arrives_as_it_was_written() -> None:
    with receivers.smtp() as server:
        assert mailed(f"smtp://127.0.0.1:{server.port}", ["ops@example.org", "b@example.org"]) is None
        (mail,) = server.mails
    assert server.recipients == ["ops@example.org", "b@example.org"]
    assert mail["Subject"] == MESSAGE.subject
    assert mail.get_content().splitlines() == MESSAGE.text.splitlines()
    assert mail["From"] == "ops@example.org" and mail["Auto-Submitted"] == "auto-generated"


def test_a_subject_beyond_ascii_is_encoded() -> None:
    raw = channels.letter(Alerts.model_validate({"mail_to": ("ops@example.org",)}), MESSAGE).as_bytes()
    subject = next(line for line in raw.splitlines() if line.startswith(b"Subject:"))
    assert subject.isascii() and b"=?utf-8?" in subject


def test_a_password_is_sent_encrypted_only(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with receivers.smtp(certificate) as server:
        assert mailed(f"smtp://user%40x:{SECRET}%2F@127.0.0.1:{server.port}") is None
        assert (server.logins, server.encrypted) == ([("user@x", f"{SECRET}/")], [True])
    with receivers.smtp(certificate, at_once=True) as server:
        assert mailed(f"smtps://user:{SECRET}@127.0.0.1:{server.port}") is None
        assert (server.logins, server.encrypted) == ([("user", SECRET)], [True])
    with receivers.smtp() as server:
        server.behaviour = "in the clear"
        fault = mailed(f"smtp://user:{SECRET}@127.0.0.1:{server.port}")
        assert "offers no STARTTLS" in str(fault)
        assert (server.logins, server.mails) == ([], [])


def test_a_mail_server_without_a_trusted_certificate_gets_nothing(certificate: Path) -> None:
    for at_once, scheme in ((False, "smtp"), (True, "smtps")):
        with receivers.smtp(certificate, at_once) as server:
            fault = mailed(f"{scheme}://user:{SECRET}@127.0.0.1:{server.port}")
            assert "certificate that is not trusted" in str(fault)
            assert (server.logins, server.mails) == ([], [])


@pytest.mark.parametrize(
    ("behaviour", "told", "unclear"),
    [
        ("nobody", "refused every recipient", False),
        ("no data", "refused the mail (554)", False),
        ("hole", "gave no answer within 3 seconds", True),
    ],
)
def test_a_mail_server_in_trouble_is_a_sentence(behaviour: str, told: str, unclear: bool) -> None:
    with receivers.smtp() as server:
        server.behaviour = behaviour
        fault = mailed(f"smtp://127.0.0.1:{server.port}", seconds=3.0)
    assert fault and (str(fault), fault.unclear) == (told, unclear)


def test_a_wrong_password_is_told_without_it(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with receivers.smtp(certificate) as server:
        server.behaviour = "no login"
        fault = mailed(f"smtp://user:{SECRET}@127.0.0.1:{server.port}")
    assert str(fault) == "answered 535"


def test_one_unknown_recipient_does_not_cost_the_others_their_mail() -> None:
    with receivers.smtp() as server:
        assert mailed(f"smtp://127.0.0.1:{server.port}", ["unknown@example.org", "ops@example.org"]) is None
    assert server.recipients == ["ops@example.org"]


def test_a_server_that_only_listens_is_no_mail_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        fault = mailed(f"smtp://127.0.0.1:{silent.getsockname()[1]}", seconds=1.0)
    assert fault and not fault.unclear


def test_the_room_imports_nothing_heavy() -> None:
    code = "import sys, attrition.posting as p; p.ping('http://127.0.0.1:1/'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True)
    assert not {"pandas", "numpy", "pydantic", "requests"} & {*done.stdout.split()}
    assert "urllib.request" in done.stdout.split()
    assert done.stderr == ""
