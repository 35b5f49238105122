"""What turned bad or good since a person was told last: facts in, alerts out. Touches no disk.

alerts = flips(before, now)
before = told(before, now)

A state that lasts is told once, when it begins; a figure in it that moves is no news.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from attrition.standing import Client, Facts

MOST_NAMES = 5
MOST_OWNERS = 20
LONGEST_NAME = 80
LONGEST_SENTENCE = 600
LONGEST_TEXT = 8000
DIGEST_EVERY = timedelta(days=1)
_INGEST, _RELEASES = "ingestion.py --json", "deployment.py --list"


@dataclass(frozen=True)
class Alert:
    """One flip. `command` is a script with its flags: what to run next."""

    about: str
    good: bool
    title: str
    text: str
    command: str
    at: str


@dataclass(frozen=True)
class State:
    """What a person has been told: plain values, so that JSON can keep it.

    `failing` holds since when, by stage; `rejected` the sha256 by dataset. `at_risk` are the clients of
    the list that the next digest is compared with, `scored_by` its release, `listed_at` its time;
    `digest_at` is when the last digest was.
    """

    failing: Mapping[str, str]
    rejected: Mapping[str, str]
    drift: str | None = None
    moved: str | None = None
    unfit: str | None = None
    live: str | None = None
    at_risk: Sequence[str] | None = None
    scored_by: str | None = None
    listed_at: str | None = None
    digest_at: str | None = None


NOTHING_TOLD = State({}, {})


def flips(before: State, now: Facts) -> list[Alert]:
    """Every flip between what was told and what is; equal facts give none."""
    return [alert for kind in KINDS for alert in kind(before, now)]


def told(before: State, now: Facts) -> State:
    """What a person knows once these flips are told."""
    rejected = before.rejected
    if now.rejected is not None:
        rejected = {name: one.sha256 for name, one in now.rejected.items()}
    state = State(
        failing={stage: trouble.since for stage, trouble in now.failing.items()},
        rejected=rejected,
        drift=now.drift.since if now.drift else None,
        moved=(now.moved.since if now.moved else None) if now.live else before.moved,
        unfit=now.unfit.since if now.unfit else None,
        live=now.live.id if now.live else before.live,
        at_risk=before.at_risk,
        scored_by=before.scored_by,
        listed_at=before.listed_at,
        digest_at=before.digest_at,
    )
    if now.at_risk is None:
        return state
    ids = [client.id for client in now.at_risk]
    if before.at_risk is not None and _digest_waits(before, now.at):
        # who is new waits for the next digest, who recovered is new when he comes again
        return replace(state, at_risk=[client for client in before.at_risk if client in set(ids)])
    digest_at = now.at if _newly_at_risk(before, now) else before.digest_at
    return replace(state, at_risk=ids, scored_by=state.live, listed_at=now.at, digest_at=digest_at)


def digest_due(before: State, now: Facts) -> datetime | None:
    """When clients who are newly at risk will be told, where the digest of today is out already."""
    if before.digest_at and _newly_at_risk(before, now) and _digest_waits(before, now.at):
        return datetime.fromisoformat(before.digest_at) + DIGEST_EVERY
    return None


def short(text: str, longest: int) -> str:
    """One line of printable text, whatever a file was called; the end is cut."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def _stages(before: State, now: Facts) -> Iterator[Alert]:
    for stage, trouble in now.failing.items():
        if stage not in before.failing:
            title, text = f"{stage} fails", f"Since {trouble.since}: {_sentence(trouble.sentence)}"
            yield Alert(f"stage {stage}", False, title, text, f"{stage}.py -v", now.at)
    for stage, since in before.failing.items():
        if stage not in now.failing:
            title, text = f"{stage} works again", f"It had failed since {since} ({_span(since, now.at)})."
            yield Alert(f"stage {stage}", True, title, text, "fullprocess.py --dry-run", now.at)


def _datasets(before: State, now: Facts) -> Iterator[Alert]:
    if now.rejected is None:
        return
    new = [name for name, one in now.rejected.items() if before.rejected.get(name) != one.sha256]
    if new:
        reasons = [f"{short(name, LONGEST_NAME)}: {short(now.rejected[name].reason, 160)}" for name in new]
        text = f"{_listed(reasons)}\nEach row and reason: rejectedrows.csv. The other datasets are taken."
        yield Alert("datasets", False, _counted("dataset", new, "set aside"), text, _INGEST, now.at)
    good = [name for name in before.rejected if name not in now.rejected and name in now.ingested]
    if good:
        names = _listed([short(name, LONGEST_NAME) for name in good])
        text = f"{names}\nWhat was set aside is in the table now."
        yield Alert("datasets", True, _counted("dataset", good, "taken after all"), text, _INGEST, now.at)


def _drift(before: State, now: Facts) -> Iterator[Alert]:
    if now.drift and not before.drift:
        text = f"Since {now.drift.since}: {_sentence(now.drift.sentence)}"
        yield Alert("drift", False, "the live model has drifted", text, _RELEASES, now.at)
    if before.drift and not now.drift:
        lasted = f"It had lasted since {before.drift} ({_span(before.drift, now.at)})."
        text = f"{_sentence(now.verdict)} {lasted}"
        yield Alert("drift", True, "the drift has ended", text, _RELEASES, now.at)


def _inputs(before: State, now: Facts) -> Iterator[Alert]:
    # what new rows are compared with is the live release's: without one nothing can be told
    if now.live and now.moved and not before.moved:
        text = f"Since {now.moved.since}: {_sentence(now.moved.sentence)}"
        title = "new rows look otherwise than those trained on"
        yield Alert("inputs", False, title, text, "diagnostics.py", now.at)
    if now.live and before.moved and not now.moved:
        lasted = f"They had looked otherwise since {before.moved} ({_span(before.moved, now.at)})."
        title = "new rows look like those trained on again"
        yield Alert("inputs", True, title, lasted, "diagnostics.py", now.at)


def _challenger(before: State, now: Facts) -> Iterator[Alert]:
    # that it ended is told by what ended it: a new release, or the end of the drift
    if now.unfit and not before.unfit:
        stays = "The live release stays." if now.live else "There is none to serve."
        text = f"Since {now.unfit.since}: {_sentence(now.unfit.sentence)} {stays}"
        yield Alert("challenger", False, "a new model is refused", text, _RELEASES, now.at)


def _release(before: State, now: Facts) -> Iterator[Alert]:
    live = now.live
    if live is None or live.id == before.live or before.live is None and live.run != now.run:
        return
    score = f" F1 on the test data: {live.f1:.3f}." if live.f1 is not None else ""
    title = "a new release is live"
    text = f"{live.id}, made {live.created}. {_sentence(live.reason)}{score}"
    if before.live and live.id < before.live:
        title, text = "a release was rolled back", f"{live.id} is live again.{score}"
    before_it = f" Until now: {before.live}." if before.live else ""
    yield Alert("release", True, title, f"{text}{before_it}", _RELEASES, now.at)


def _clients(before: State, now: Facts) -> Iterator[Alert]:
    new = _newly_at_risk(before, now)
    if not new or _digest_waits(before, now.at):
        return
    owners: dict[str, list[Client]] = {}
    for client in new:
        owners.setdefault(client.owner, []).append(client)
    lines = [_digest(owner, owners[owner], now.clients_per_owner) for owner in [*owners][:MOST_OWNERS]]
    if len(owners) > MOST_OWNERS:
        lines.append(f"and clients of {len(owners) - MOST_OWNERS:,} more owners")
    if now.live and before.scored_by != now.live.id:
        lines.append("Scored by another release than the last digest: part of this may be the new model's.")
    since = f"Since the list of {before.listed_at}:"
    text = "\n".join([since, _cut("\n".join(lines)), "All of them: risklist.csv."])
    title = _counted("client", [client.id for client in new], "newly at risk")
    yield Alert("clients", False, title, text, "reporting.py", now.at)


def _silence(before: State, now: Facts) -> Iterator[Alert]:
    if now.alive:
        text = f"Nothing had run from {now.alive} until now ({_span(now.alive, now.at)}). Was cron at work?"
        yield Alert("silence", True, "the pipeline runs again", text, "fullprocess.py --dry-run", now.at)


KINDS = (
    _stages,
    _datasets,
    _drift,
    _inputs,
    _challenger,
    _release,
    _clients,
    _silence,
)


def _newly_at_risk(before: State, now: Facts) -> list[Client]:
    if now.at_risk is None or before.at_risk is None:
        return []
    known = set(before.at_risk)
    return [client for client in now.at_risk if client.id not in known]


def _digest_waits(before: State, at: str) -> bool:
    """Whether the digest of today is out; one in the future is none: the clock was set back."""
    if before.digest_at is None:
        return False
    since = datetime.fromisoformat(at) - datetime.fromisoformat(before.digest_at)
    return timedelta(0) <= since < DIGEST_EVERY


def _digest(owner: str, clients: Sequence[Client], most: int) -> str:
    named = [
        f"{short(client.id, LONGEST_NAME)} {client.probability:.0%} ({short(client.reason, 120)})"
        for client in clients[:most]
    ]
    more = f"; and {len(clients) - most:,} more" if len(clients) > most else ""
    return f"{short(owner, LONGEST_NAME) or 'No owner'}: {'; '.join(named)}{more}"


def _listed(names: Sequence[str]) -> str:
    more = [f"and {len(names) - MOST_NAMES:,} more"] if len(names) > MOST_NAMES else []
    return "\n".join([*names[:MOST_NAMES], *more])


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


def _counted(noun: str, names: Sequence[str], what: str) -> str:
    if len(names) == 1:
        return f"{noun} {short(names[0], LONGEST_NAME)} {what}"
    return f"{len(names):,} {noun}s {what}"


def _sentence(text: str) -> str:
    line = short(text, LONGEST_SENTENCE)
    return line if line.endswith((".", "…", "!", "?")) else f"{line}."


def _span(since: str, until: str) -> str:
    span = max(timedelta(0), datetime.fromisoformat(until) - datetime.fromisoformat(since))
    hours, minutes = divmod(span.seconds // 60, 60)
    return f"{span.days} d {hours} h" if span.days else f"{hours} h {minutes} min"
