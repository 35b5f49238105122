"""config.json once, made absolute; every kept file named beside its one writer.

A flag wins over the environment (ATTRITION_TRAINING_FOLDS=3), the environment over config.json,
and config.json over the default.
"""

import difflib
import json
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args, overload

from pydantic import BaseModel, ValidationError

from attrition.errors import ConfigError
from attrition.settings import Clients, Settings

PROJECT = Path(__file__).resolve().parent.parent
PREFIX = "ATTRITION_"


class Kept:
    """A kept file: the folder it lies in, its name, and the one room that writes it."""

    def __init__(self, writer: str, folder: str, name: str) -> None:
        self.writer, self.folder, self.name = writer, folder, name

    @overload
    def __get__(self, config: None, owner: type) -> "Kept": ...
    @overload
    def __get__(self, config: "Config", owner: type) -> Path: ...
    def __get__(self, config: "Config | None", owner: type) -> "Kept | Path":
        return self if config is None else cast(Path, getattr(config, self.folder)) / self.name


@dataclass(frozen=True)
class Config:
    """What one run works with: settings, absolute folders, and how it was started."""

    path: Path
    settings: Settings
    practice: bool = False
    force: bool = False
    dry_run: bool = False
    run: str = "by-hand"

    @property
    def clients(self) -> Clients:
        return self.settings.clients

    @property
    def input_folder(self) -> Path:
        settings = self.settings
        return self._at(settings.practice.input_folder_path if self.practice else settings.input_folder_path)

    @property
    def test_folder(self) -> Path:
        return self._at(self.settings.test_data_path)

    @property
    def model_folder(self) -> Path:
        settings = self.settings
        return self._at(settings.practice.output_model_path if self.practice else settings.output_model_path)

    @property
    def ingested_folder(self) -> Path:
        return (
            self.model_folder / "ingesteddata"
            if self.practice
            else self._at(self.settings.output_folder_path)
        )

    @property
    def deployment_folder(self) -> Path:
        if self.practice:
            return self.model_folder / "production_deployment"
        return self._at(self.settings.prod_deployment_path)

    @property
    def home(self) -> Path:
        """Folder of config.json: what relative paths are relative to."""
        return self.path.parent

    @property
    def signing_key(self) -> Path:
        """The key that signs releases: the operator's, or one in the model folder; practice has its own."""
        named = self.settings.deployment.key_file
        return self.own_key if named is None or self.practice else self._at(named)

    @property
    def plays(self) -> Path | None:
        """The team's table of suggested actions, where there is one."""
        return None if self.settings.risk.plays is None else self._at(self.settings.risk.plays)

    def _at(self, place: str) -> Path:
        return _absolute(self.home / place)

    final_data = Kept("ingestion", "ingested_folder", "finaldata.csv")
    ingested_files = Kept("ingestion", "ingested_folder", "ingestedfiles.txt")
    rejected_rows = Kept("ingestion", "ingested_folder", "rejectedrows.csv")
    ingestion_metrics = Kept("ingestion", "ingested_folder", "ingestionmetrics.csv")
    datasets = Kept("ingestion", "ingested_folder", "datasets.json")

    parts = Kept("ingestion", "ingested_folder", "parts")
    removed = Kept("ingestion", "ingested_folder", "removed")
    extracts = Kept("ingestion", "ingested_folder", "extracts")
    ingested_current = Kept("ingestion", "ingested_folder", "current")

    own_key = Kept("attrition.signing", "model_folder", "signing.key")

    trained_model = Kept("training", "model_folder", "trainedmodel.pkl")
    model_description = Kept("training", "model_folder", "model.json")
    scorecard = Kept("training", "model_folder", "scorecard.json")

    reference = Kept("training", "model_folder", "reference.json")

    latest_score = Kept("scoring", "model_folder", "latestscore.txt")
    scores = Kept("scoring", "model_folder", "scores.json")
    model_card = Kept("scoring", "model_folder", "modelcard.md")
    model_card_facts = Kept("scoring", "model_folder", "modelcard.json")
    test_predictions = Kept("scoring", "model_folder", "testpredictions.csv")

    live_model = Kept("deployment", "deployment_folder", "trainedmodel.pkl")
    live_score = Kept("deployment", "deployment_folder", "latestscore.txt")
    live_ingested_files = Kept("deployment", "deployment_folder", "ingestedfiles.txt")
    current = Kept("deployment", "deployment_folder", "current")
    previous = Kept("deployment", "deployment_folder", "previous")
    rolled_back = Kept("deployment", "deployment_folder", "rolledback")
    deployment_note = Kept("deployment", "deployment_folder", "README.txt")

    diagnostics = Kept("diagnostics", "model_folder", "diagnostics.json")
    packages = Kept("diagnostics", "model_folder", "packages.json")

    pictures = Kept("reporting", "model_folder", "pictures.json")
    confusion_matrix = Kept("reporting", "model_folder", "confusionmatrix.png")
    report = Kept("reporting", "model_folder", "report.html")
    report_pdf = Kept("reporting", "model_folder", "report.pdf")
    report_facts = Kept("reporting", "model_folder", "report.json")
    risk_list = Kept("reporting", "model_folder", "risklist.csv")
    risk_facts = Kept("reporting", "model_folder", "risklist.json")
    short_list = Kept("reporting", "model_folder", "shortlist.csv")
    reports = Kept("reporting", "model_folder", "reports")

    api_returns = Kept("apicalls", "model_folder", "apireturns.txt")

    monitor = Kept("fullprocess", "model_folder", "monitor.json")
    refused = Kept("fullprocess", "model_folder", "refused")
    alerts = Kept("attrition.alerts", "model_folder", "alerts.json")

    history = Kept("attrition.ledger", "model_folder", "history.jsonl")
    history_summary = Kept("attrition.ledger", "model_folder", "historysummary.json")
    pipeline_lock = Kept("attrition.stage", "model_folder", "pipeline.lock")
    log = Kept("attrition.stage", "model_folder", "log.txt")

    @property
    def stamp(self) -> Path:
        """What the last finished run saw; written by fullprocess, found without reading config.json."""
        return self.home / f".{self.path.name}{'.practice' if self.practice else ''}.stamp"

    def command(self, command: str) -> str:
        """A command as a person types it in the project's folder, for this very config."""
        practice = ["--practice"] if self.practice else []
        place = Path(os.path.relpath(self.path, PROJECT)).as_posix()
        other = [] if self.path == PROJECT / "config.json" else ["--config", shlex.quote(place)]
        return " ".join(["python", command, *practice, *other])


def kept_files() -> dict[str, Kept]:
    return {name: value for name, value in vars(Config).items() if isinstance(value, Kept)}


def load(path: Path | None = None, environ: Mapping[str, str] | None = None, **started: Any) -> Config:
    """Read, check and complete config.json, or raise ConfigError with every fault at once.

    `started` is how the run was started: practice, force, dry_run, run.
    """
    environ = os.environ if environ is None else environ
    place = _absolute(Path(path or environ.get(f"{PREFIX}CONFIG") or PROJECT / "config.json"))
    raw = _read(place)
    _override(raw, environ)
    try:
        settings = Settings.model_validate_json(json.dumps(raw), by_alias=True)
    except ValidationError as error:
        faults = "\n".join(f"  {_sentence(fault)}" for fault in error.errors())
        raise ConfigError(
            f"{place}: {error.error_count()} fault(s). Correct them and run again.\n{faults}"
        ) from None
    config = Config(place, settings, **started)
    _check_folders(config)
    return config


def _absolute(place: Path) -> Path:
    # not resolve(): links stay as the person wrote them
    return Path(os.path.abspath(place))  # noqa: PTH100


def _read(place: Path) -> dict[str, Any]:
    try:
        raw = json.loads(place.read_bytes().decode("utf-8-sig"), object_pairs_hook=_without_duplicates)
    except FileNotFoundError:
        raise ConfigError(
            f"{place}: there is no such file. Name another with --config, or write one: the five path keys "
            "are enough (README, Configuration)."
        ) from None
    except IsADirectoryError:
        raise ConfigError(f"{place}: this is a folder. Name the config file itself with --config.") from None
    except (ValueError, RecursionError) as fault:
        raise ConfigError(f"{place}: this is not JSON ({fault}). Correct the file.") from None
    if not isinstance(raw, dict):
        raise ConfigError(
            f"{place}: this must be a JSON object with the five path keys. See README, Configuration."
        )
    return raw


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"the key {key!r} stands twice")
    return dict(pairs)


def _override(raw: dict[str, Any], environ: Mapping[str, str]) -> None:
    """Set every key of which the environment has a value, in place."""
    for keys in key_paths(Settings):
        text = environ.get(variable(keys))
        if text is None:
            continue
        section = raw
        for key in keys[:-1]:
            section = section.setdefault(key, {})
            if not isinstance(section, dict):
                raise ConfigError(
                    f"{variable(keys)} is set, but {key} in config.json is no section. Correct one of them."
                )
        section[keys[-1]] = _value(text)


def variable(keys: tuple[str, ...]) -> str:
    """Environment variable that overrides a key: ('training', 'folds') is ATTRITION_TRAINING_FOLDS."""
    return PREFIX + "_".join(keys).upper()


def overriding(environ: Mapping[str, str]) -> set[str]:
    """Names of the environment variables that change a key of config.json."""
    return {name for keys in key_paths(Settings) if (name := variable(keys)) in environ}


def key_paths(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from key_paths(field.annotation, (*above, name))
        else:
            yield (*above, name)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _sentence(fault: Any) -> str:
    place = ".".join(str(part) for part in fault["loc"]) or "config"
    if fault["type"] == "missing":
        return f"{place}: this key is required."
    if fault["type"] == "extra_forbidden":
        return f"{place}: unknown key{_nearest(str(fault['loc'][-1]), fault['loc'][:-1])}."
    message = fault["msg"].removeprefix("Value error, ")
    found = "" if isinstance(fault["input"], dict) else f" (it is {fault['input']!r})"
    return f"{place}: {message}{found}."


def _nearest(key: str, above: tuple[Any, ...]) -> str:
    known = list(_section(above).model_fields)
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}" if near else f"; known here: {', '.join(known)}"


def _section(above: tuple[Any, ...]) -> type[BaseModel]:
    """The section at a place, also where it may be null or is one of several."""
    section: type[BaseModel] = Settings
    for name in above:
        field = section.model_fields.get(name)
        kinds = [field.annotation, *get_args(field.annotation)] if field else []
        section = next(
            (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), section
        )
    return section


def _check_folders(config: Config) -> None:
    """No folder of the pipeline may overlap with one of people's, nor practice's with production's."""
    practice = replace(config, practice=True)
    production = replace(config, practice=False)
    people = {
        "input": production.input_folder,
        "practice input": practice.input_folder,
        "test data": config.test_folder,
    }
    written = {
        "ingested": production.ingested_folder,
        "model": production.model_folder,
        "deployment": production.deployment_folder,
    }
    rehearsed = {"practice": practice.model_folder}
    faults = [*_overlaps(people, written | rehearsed), *_overlaps(rehearsed, written)]
    if config.test_folder in (production.input_folder, practice.input_folder):
        faults.append(f"  the input folder and the test data folder are both {config.test_folder}.")
    faults += [
        f"  the key {config.signing_key} lies in the {name} folder: who can replace a file there could sign."
        for name, place in (people | written).items()
        if name != "model" and config.signing_key.is_relative_to(place)
    ]
    if len(set(written.values())) < len(written):
        faults.append("  the ingested, model and deployment folders must be three different folders.")
    if faults:
        raise ConfigError(
            "\n".join([f"{config.path}: {len(faults)} fault(s). Give each its own folder.", *faults])
        )


def _overlaps(here: Mapping[str, Path], there: Mapping[str, Path]) -> list[str]:
    return [
        f"  the {a} folder ({place}) and the {b} folder ({other}) overlap."
        for a, place in here.items()
        for b, other in there.items()
        if place.is_relative_to(other) or other.is_relative_to(place)
    ]
