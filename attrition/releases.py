"""A release as readers see it: resolve `current` once, verify what is read. No reader ever sees two releases.

production_deployment/releases/<id>/ holds trainedmodel.pkl, latestscore.txt, ingestedfiles.txt,
scorecard.json, reference.json, model.json, scores.json, modelcard.md and manifest.json.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from attrition import publisher
from attrition.config import Config
from attrition.errors import ReleaseError
from attrition.publisher import Edition, Shelf

LINKS = ("trainedmodel.pkl", "latestscore.txt", "ingestedfiles.txt")


@dataclass(frozen=True)
class Release:
    shelf: Shelf
    edition: Edition

    @property
    def id(self) -> str:
        return self.edition.id

    def read(self, name: str) -> bytes:
        """A file of the release, verified; ReleaseError where it is not what was deployed."""
        return publisher.read_verified(self.shelf, self.edition, name)

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """manifest.json: id, parent, created, reason, contract, ingested, libraries, files; signed."""
        return self.edition.manifest

    @cached_property
    def scores(self) -> Mapping[str, Any]:
        """scores.json: the figures on the test data when it was deployed."""
        scores: Mapping[str, Any] = json.loads(self.read("scores.json"))
        return scores


def shelf(config: Config) -> Shelf:
    return Shelf(
        config.deployment_folder,
        "releases",
        LINKS,
        ReleaseError,
        "Run: python deployment.py --rollback, or python fullprocess.py --force (a new release is made).",
        config.signing_key,
    )


def live(config: Config) -> Release | None:
    """The release that is served, or None where none was ever deployed. ReleaseError where it is damaged."""
    place = shelf(config)
    edition = publisher.current(place)
    return Release(place, edition) if edition else None


def require_live(config: Config) -> Release:
    release = live(config)
    if release is None:
        raise ReleaseError(f"{config.deployment_folder}: no release is live yet. Run: python fullprocess.py")
    return release


def by_id(config: Config, release_id: str) -> Release:
    place = shelf(config)
    return Release(place, publisher.read(place, release_id))


def rolled_back(config: Config) -> int:
    """Number of the release that was rolled back last; 0 where none ever was."""
    link = config.rolled_back
    return publisher.edition_sequence(link.readlink().name) if link.is_symlink() else 0


def kept(config: Config) -> list[str]:
    """Ids of every release that is kept, oldest first."""
    return [edition.id for edition in publisher.editions(shelf(config))]
