"""Build a release, prove it, make it live by one rename; roll back; forget the old.

Reads   trainedmodel.pkl, model.json, scorecard.json, reference.json (training), scores.json, latestscore.txt,
        modelcard.md (scoring)
Writes  production_deployment/: releases/<id>/, current, previous, rolledback and the fixed links

Example: python deployment.py
         python deployment.py --list
         python deployment.py --rollback
         python deployment.py --new-key   (the key is lost, or somebody else may have read it)
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attrition import contract as contracts
from attrition import files, generations, publisher, releases, scorecard, signing, stage, unpickling
from attrition.config import Config
from attrition.errors import DataError, ReleaseError

log = logging.getLogger("attrition")

# how far apart the scorecard and the pickled model may be, in log-odds
AGREEMENT = 1e-9
ADVERSARIAL_ROWS = 10_000
NOTE = """This folder holds the releases of the attrition-risk model. deployment.py alone writes here.

current    is the live release: read `current` once, then every file below what it names
previous   is the release before it, where `python deployment.py --rollback` goes
rolledback is the release that was rolled back last, once there was one
releases/  holds every kept release; a release is never changed, its manifest.json has the sha256 of each file
           and is signed

trainedmodel.pkl, latestscore.txt and ingestedfiles.txt lead through `current`: always those of one release.
Which releases there are, and why each was made: python deployment.py --list
"""


@dataclass(frozen=True)
class Deployed:
    release: str
    previous: str | None
    action: str
    status: str = "done"

    def __str__(self) -> str:
        before = f" Before it: {self.previous}." if self.previous else ""
        if self.action == "kept":
            return f"Release {self.release} holds this very model already and stays live.{before}"
        return f"Release {self.release} is live ({self.action}).{before}"


@dataclass(frozen=True)
class Listed:
    releases: Sequence[Mapping[str, Any]]
    status: str = "done"

    def __str__(self) -> str:
        lines = (
            f"{'*' if r['live'] else ' '} {r['release']}  {r['created']}  F1 {r['f1']}  {r['reason']}"
            for r in self.releases
        )
        return "\n".join(lines) or "No release yet. Run: python fullprocess.py"


@dataclass(frozen=True)
class Candidate:
    """What training and scoring left in the model folder, proven to belong together."""

    files: Mapping[str, bytes]
    description: Mapping[str, Any]
    scores: Mapping[str, Any]


def run(config: Config) -> Deployed:
    return deploy(config, "deployed by hand")


def deploy(config: Config, reason: str) -> Deployed:
    """Make the model of the model folder the live release, unless it is live already."""
    signing.ready(config)
    candidate = read_candidate(config)
    live = _live_or_damaged(config)
    if live and not config.force and _same_model(live, candidate):
        if not config.dry_run:
            publisher.point_fixed_links(live.shelf, live.edition)
        return Deployed(live.id, live.edition.parent, "kept", "nothing to do")
    prove(config, candidate)
    if config.dry_run:
        return Deployed("(dry run)", live.id if live else None, "deployed")
    shelf = releases.shelf(config)

    def fill(draft: Path) -> None:
        for name, data in candidate.files.items():
            files.write_bytes(draft / name, data)

    facts = {
        "created": stage.now(),
        "run": config.run,
        "reason": reason,
        "model": candidate.description["model"],
        "contract": candidate.description["contract"],
        "ingested": candidate.description["ingested"],
        "data": candidate.description["data"],
        "libraries": candidate.description["libraries"],
        "f1": _f1(candidate.scores),
    }
    edition = publisher.publish(shelf, fill, facts)
    files.write_text(config.deployment_note, NOTE)
    # a release that a killed run never made live has a number too, and must not push the parent out
    pinned = frozenset([edition.parent] if edition.parent else [])
    gone = publisher.forget(shelf, config.settings.deployment.keep, pinned)
    log.info("forgotten releases: %s", ", ".join(gone) or "none")
    return Deployed(edition.id, edition.parent, "deployed")


def rollback(config: Config) -> Deployed:
    """Make the parent of the live release live again; it is verified first."""
    signing.ready(config)
    shelf = releases.shelf(config)
    live = releases.require_live(config)
    if not live.edition.parent:
        raise ReleaseError(
            f"{config.deployment_folder}: {live.id} is the first release. There is none to roll back to."
        )
    earlier = releases.by_id(config, live.edition.parent)
    publisher.verify(shelf, earlier.edition)
    if not config.dry_run:
        # first: what a person has rolled back must not be made again, whatever happens in between
        files.point_link(config.rolled_back, f"{shelf.kind}/{live.id}")
        publisher.make_current(shelf, earlier.edition)
    return Deployed(earlier.id, earlier.edition.parent, "rolled back")


def listed(config: Config) -> Listed:
    """Every release, oldest first, the live one marked."""
    shelf = releases.shelf(config)
    live = publisher.current(shelf)
    rows = [
        {
            "release": edition.id,
            "live": live is not None and edition.id == live.id,
            "parent": edition.parent,
            **{key: edition.manifest.get(key) for key in ("created", "reason", "model", "f1")},
        }
        for edition in publisher.editions(shelf)
    ]
    return Listed(rows)


def read_candidate(config: Config) -> Candidate:
    """Read what is to be released; DataError where a file is missing or does not belong to the others."""
    described = _read(config.model_description, "python training.py")
    description = signing.description(config, described)
    model = _read(config.trained_model, "python training.py")
    card = _read(config.scorecard, "python training.py")
    reference = _read(config.reference, "python training.py")
    trained = {"trainedmodel.pkl": model, "scorecard.json": card, "reference.json": reference}
    for name, data in trained.items():
        if hashlib.sha256(data).hexdigest() != description["sha256"].get(name):
            raise DataError(
                f"{config.model_folder / name}: this is not what training wrote. Run: python training.py"
            )
    scores = _read(config.scores, "python scoring.py")
    if json.loads(scores)["model_sha256"] != description["sha256"]["trainedmodel.pkl"]:
        raise DataError(f"{config.scores}: this is the score of another model. Run: python scoring.py")
    contents = {
        **trained,
        "latestscore.txt": _read(config.latest_score, "python scoring.py"),
        "ingestedfiles.txt": description["ingested_files"].encode(),
        "model.json": described,
        "scores.json": scores,
        "modelcard.md": _read(config.model_card, "python scoring.py"),
    }
    return Candidate(contents, description, json.loads(scores))


def prove(config: Config, candidate: Candidate) -> None:
    """Raise DataError unless the scorecard says what the pickled model says, on all rows and strange ones."""
    import numpy as np

    from attrition import proof

    contract = contracts.compiled(config.clients)
    found = {"the test rows": float(candidate.scores["scorecard_apart"])}
    card = scorecard.load(candidate.files["scorecard.json"])
    # the hash in model.json, which is signed, was checked: these are the bytes that training wrote
    model = unpickling.loads(candidate.files["trainedmodel.pkl"], config.trained_model)
    ingested = generations.pieces(contract, generations.require_current(config))
    # numpy's max of numbers and a NaN is NaN
    found["the ingested rows"] = float(np.max([proof.apart(card, model, piece) for piece in ingested]))
    strange = proof.adversarial(card, ADVERSARIAL_ROWS, config.settings.training.seed)
    found[f"{ADVERSARIAL_ROWS:,} adversarial rows"] = proof.apart(card, model, strange)
    for rows, apart in found.items():
        if not apart <= AGREEMENT:
            raise DataError(
                f"{config.scorecard}: it differs from the trained model by {apart:.3g} in log-odds on {rows}."
                " Run: python training.py"
            )


def _live_or_damaged(config: Config) -> releases.Release | None:
    """The live release; None, and a word about it, where it is damaged: a sound one may replace it."""
    try:
        live = releases.live(config)
        if live:
            publisher.verify(live.shelf, live.edition)
    except ReleaseError as fault:
        log.error("the live release is replaced, since %s", fault)
        return None
    return live


def _same_model(live: releases.Release, candidate: Candidate) -> bool:
    published = live.facts["files"]
    names = ("trainedmodel.pkl", "latestscore.txt", "ingestedfiles.txt")
    return all(
        published[name]["sha256"] == hashlib.sha256(candidate.files[name]).hexdigest() for name in names
    )


def _f1(scores: Mapping[str, Any]) -> float | None:
    figure = scores["figures"].get("f1")
    return round(figure["value"], 4) if figure else None


def _read(path: Path, made_by: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: this is missing. Run: {made_by}") from None


def main() -> int:
    actions = (
        stage.Action("--rollback", rollback, "make the release before the live one live again"),
        stage.Action("--new-key", signing.renew, "make a new signing key, and sign with it what is sound"),
        stage.Action("--list", listed, "list the releases, the live one marked", only_reads=True),
    )
    return stage.enter("deployment", __doc__, run, actions)


if __name__ == "__main__":
    raise SystemExit(main())
