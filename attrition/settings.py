"""config.json as it is written: every key with its type, default and meaning.

A section refuses unknown keys; faults come all at once (see attrition.config). A test holds README's table to
these descriptions.
"""

import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from attrition import arithmetic

Name = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Label = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)]


def _once(*names: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Rule(Section):
    rule: Name
    severity: Literal["warn", "reject"] = "warn"


def _as_rule(value: Any) -> Any:
    return {"rule": value} if isinstance(value, str) else value


class Clients(Section):
    id: Name = Field("corporation", description="column that names the client")
    target: Name = Field(
        "exited", description="column that says whether the client left; blank means not known yet"
    )
    left: Label = Field("1", description="value of the target for a client who left")
    stayed: Label = Field("0", description="value of the target for a client who stayed")
    numeric: tuple[Name, ...] = Field(
        ("lastmonth_activity", "lastyear_activity", "number_of_employees"),
        description="number columns the model sees",
    )
    categorical: tuple[Name, ...] = Field((), description="category columns the model sees")
    carry: tuple[Name, ...] = Field(
        (), description="columns that pass through untouched, unseen by the model"
    )
    words: dict[str, str] = Field({}, description="a column's name in plain words, for reasons and reports")
    ranges: dict[str, tuple[float | None, float | None]] = Field(
        {}, description="lowest and highest possible value of a number column; null is open"
    )
    categories: dict[str, tuple[str, ...]] = Field(
        {}, description="the only values a category column may have, blank aside; any other rejects the row"
    )
    required: tuple[Name, ...] = Field((), description="columns in which a blank rejects the row")
    rules: tuple[Annotated[Rule, BeforeValidator(_as_rule)], ...] = Field(
        (),
        description='comparisons between columns; a text warns, severity "reject" sets the row aside',
    )
    derived: dict[str, str] = Field({}, description="new number columns: arithmetic over other columns")
    value: Name | None = Field(None, description="number column with a client's yearly value")
    owner: Name | None = Field(None, description="column with the client's account manager")

    @property
    def numbers(self) -> tuple[str, ...]:
        """Columns read as numbers from a dataset."""
        return _once(*self.numeric, *([self.value] if self.value else []))

    @property
    def texts(self) -> tuple[str, ...]:
        return _once(*self.carry, *self.categorical, *([self.owner] if self.owner else []))

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column a dataset must have."""
        return _once(self.id, *self.carry, *self.categorical, *self.numbers, *self.texts, self.target)

    @property
    def model_numbers(self) -> tuple[str, ...]:
        """Number columns the model sees: read or derived."""
        return (*self.numeric, *self.derived)

    @property
    def features(self) -> tuple[str, ...]:
        return (*self.model_numbers, *self.categorical)

    def word(self, column: str) -> str:
        return self.words.get(column, column.replace("_", " "))

    @model_validator(mode="after")
    def _hangs_together(self) -> "Clients":
        faults = list(self._faults())
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _faults(self) -> Iterator[str]:
        read = [self.id, self.target, *self.numeric, *self.categorical]
        for column in sorted({c for c in read if read.count(c) > 1}):
            yield f"the column {column!r} is named twice among id, target, numeric and categorical"
        optional = [column for column in (self.owner, self.value) if column]
        for column in sorted({*self.carry, *optional} & {self.target}):
            yield f"the target {column!r} cannot also be carried, be the owner or the value"
        owner = [self.owner] if self.owner else []
        for column in sorted({*self.carry, *owner} & {*self.numbers, self.id}):
            yield f"the column {column!r} cannot be a number or the id and also text to carry"
        if self.left.strip() == self.stayed.strip() or not self.left.strip() or not self.stayed.strip():
            yield "left and stayed must be two different values, neither blank"
        if "dataset" in self.columns or "dataset" in self.derived:
            yield "no column may be called 'dataset': ingestion adds one of that name"
        if not self.features:
            yield "name at least one column in numeric or categorical"
        for column, (low, high) in self.ranges.items():
            if column not in self.numbers:
                yield f"ranges names {column!r}, which is not among the number columns"
            if low is not None and high is not None and low > high:
                yield f"the range of {column!r} ends ({high:g}) before it begins ({low:g})"
        for column in self.categories:
            if column not in self.texts:
                yield f"categories names {column!r}, which is no category column"
        for column in self.required:
            if column not in (*self.numbers, *self.texts):
                yield f"required names {column!r}, which is no column that a dataset must have"
        for column in self.words:
            if column not in (*self.columns, *self.derived):
                yield f"words names {column!r}, which is no column of this section"
        yield from self._arithmetic_faults()

    def _arithmetic_faults(self) -> Iterator[str]:
        for column, text in self.derived.items():
            if column in self.columns:
                yield f"derived makes {column!r}, which is already a column"
            yield from _parse_faults(f"derived.{column}", text, self.numbers, arithmetic.formula)
        for rule in self.rules:
            yield from _parse_faults(
                "rules", rule.rule, (*self.numbers, *self.derived), arithmetic.comparison
            )


class _Parsed(Protocol):
    @property
    def columns(self) -> frozenset[str]: ...


def _parse_faults(
    place: str, text: str, columns: tuple[str, ...], parse: Callable[[str], _Parsed]
) -> Iterator[str]:
    try:
        unknown = parse(text).columns - set(columns)
    except ValueError as fault:
        yield f"{place}: {text!r}: {fault}"
        return
    for column in sorted(unknown):
        yield f"{place}: {text!r} uses {column!r}, which is no number column ({', '.join(columns)})"


class Practice(Section):
    input_folder_path: Name = Field("practicedata", description="input folder of practice runs")
    output_model_path: Name = Field("practicemodels", description="everything a practice run writes")


class Database(Section):
    """A database beside the input folder. Its URL holds a password, so it comes from the environment."""

    url_env: Name = Field(
        "ATTRITION_DATABASE_URL", description="environment variable with the database's SQLAlchemy URL"
    )
    query: Name = Field(description="a SELECT whose columns are those of a dataset")
    cursor: Name = Field(description="column of the query that grows from row to row: a time or a number")
    lookback: float = Field(
        0, ge=0, description="how far behind the newest row each look begins again: seconds, or units"
    )


class Publish(Section):
    """Tables for BI tools. The database's URL holds a password, so it comes from the environment."""

    url_env: Name = Field(
        "ATTRITION_PUBLISH_URL", description="environment variable with the database's SQLAlchemy URL"
    )
    prefix: str = Field(
        "attrition_",
        pattern="^[a-z][a-z0-9_]*$",
        max_length=30,
        description="how the name of each table begins; each pipeline that publishes there has its own",
    )
    keep_runs: int = Field(
        100,
        ge=1,
        description="newest lists in risk_history, and newest diagnoses in columns, drift and timings",
    )

    @model_validator(mode="after")
    def _names_a_variable(self) -> "Publish":
        # checked here and not by a pattern: the message about a pattern would quote a URL put here by mistake
        if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", self.url_env):
            raise ValueError("url_env must be the name of an environment variable that holds the URL")
        return self


class Ingestion(Section):
    memory_limit: str = Field(
        "1GB",
        pattern=r"^[0-9]+(\.[0-9]+)? ?([KMGT]i?B)$",
        description="memory that reading and merging datasets may use; beyond it they spill to disk",
    )
    max_rejected_share: Share = Field(
        0.2, description="above this share of rejected rows the whole dataset is set aside"
    )
    settle_seconds: float = Field(
        2, ge=0, description="a dataset younger than this may still be being written: next tick"
    )


Family = Literal["constant", "logistic", "spline", "ebm", "boosting", "blend"]


class Training(Section):
    folds: int = Field(5, ge=2, le=20, description="folds of cross-validation")
    seed: int = Field(0, ge=0, description="seed of every random choice")
    max_rows: int = Field(
        200_000,
        ge=100,
        description="above it, training takes a sample of whole clients, drawn by a hash of their ids",
    )
    on_leak: Literal["warn", "stop"] = Field(
        "warn", description="a column that gives the outcome away: warn, or stop"
    )
    candidates: tuple[Family, ...] = Field(
        ("constant", "logistic", "spline", "ebm", "boosting", "blend"),
        min_length=1,
        description="kinds of models that compete; fewer are faster",
    )
    opaque: Literal["if_worth", "never"] = Field(
        "if_worth", description="whether a model that is no sum over columns and pairs may win"
    )
    opaque_gain: Share = Field(
        0.02, description="share of log loss by which such a model must beat the best glass box to win"
    )

    @model_validator(mode="after")
    def _has_a_yardstick(self) -> "Training":
        if not {"constant", "logistic", "spline", "ebm"} & {*self.candidates}:
            raise ValueError(
                "candidates must name constant, logistic, spline or ebm, which the others must beat"
            )
        return self


class ModelCard(Section):
    purpose: str = Field("", description="what the model is for, as the model card says it")
    out_of_scope: str = Field("", description="what it must not be used for")
    horizon: str = Field("", description="within what time clients leave that it predicts")
    contact: str = Field("", description="whom to ask about the model")


class Promotion(Section):
    margin: float = Field(
        0.0,
        ge=0,
        description="rise of log loss at which a new model still counts as not worse after an alarm",
    )
    confidence: float = Field(
        0.95, gt=0.5, lt=1, description="confidence with which a new model must be better to be deployed"
    )


class Drift(Section):
    alpha: float = Field(
        0.01,
        gt=0,
        lt=0.5,
        description="chance of any false alarm over the whole life of a release, however often one looks",
    )
    tolerance: float = Field(
        0.02, ge=0, lt=1, description="rise of the error rate, or of the Brier loss, that is not called drift"
    )


class Retraining(Section):
    growth: float = Field(
        1.5,
        gt=1,
        description="a challenger is trained when the labelled rows are so many times those of the model "
        "or of the last one refused",
    )
    enough_labels: int = Field(
        100, ge=1, description="new labelled rows without which moved inputs alone train no challenger"
    )
    most_per_day: int = Field(
        4, ge=1, description="challengers trained in 24 hours, first ones and --force aside"
    )


class Bands(Section):
    high: Share = Field(0.6, description="from this probability on a client is at high risk")
    medium: Share = Field(0.3, description="from this probability on a client is at medium risk")

    @model_validator(mode="after")
    def _in_order(self) -> "Bands":
        if self.medium > self.high:
            raise ValueError("medium must not be above high")
        return self


class FromF1(Section):
    from_: Literal["f1"] = Field("f1", alias="from")


class FromCost(Section):
    from_: Literal["cost"] = Field(alias="from")
    missed: float = Field(gt=0)
    needless: float = Field(gt=0)


class FromCapacity(Section):
    from_: Literal["capacity"] = Field(alias="from")


class FromFixed(Section):
    from_: Literal["fixed"] = Field(alias="from")
    value: float = Field(gt=0, lt=1)


Threshold = FromF1 | FromCost | FromCapacity | FromFixed


class Risk(Section):
    order_by: Literal["probability", "expected_loss"] = Field(
        "probability", description="order of the risk list"
    )
    capacity: int = Field(20, ge=1, description="clients that the team can work on: length of the short list")
    bands: Bands = Bands()
    delta_points: int = Field(
        15, ge=1, le=100, description="rise in percentage points since the last list that counts as risen"
    )
    threshold: Annotated[Threshold, Field(discriminator="from_")] = Field(
        FromF1(),
        description="where the threshold comes from: f1, cost (missed, needless), capacity or fixed (value)",
    )
    plays: Name | None = Field(
        None,
        description="CSV file with the suggested actions (reason, band, action, days); null: built-in ones",
    )


class Api(Section):
    keys_env: Name = Field(
        "ATTRITION_API_KEYS",
        description="environment variable with the API's keys, comma-separated, each with its role before it",
    )
    per_minute: int = Field(
        300_000,
        ge=1,
        le=1_000_000,
        description="requests a minute of one key, or of one address without a key; above it 429",
    )
    log: Literal["text", "json", "off"] = Field(
        "text", description="a line on standard output for each request: text, json or off"
    )
    max_body_bytes: int = Field(1_048_576, ge=1024, description="largest request body")
    max_rows: int = Field(10_000, ge=1, description="most rows in one request")
    max_age_minutes: int = Field(30, ge=1, description="/readyz answers 503 when the last good run is older")


def _one_or_many(value: Any) -> Any:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


# the form that HTML gives an e-mail address: neither names nor lists, so that a header stays one address
Address = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.!#$%&'*+/=?^`{|}~-]+@[A-Za-z0-9.-]+$", max_length=254)]


class Alerts(Section):
    """Whom to tell. URLs hold secrets: they come from the environment, and here are only the names."""

    webhook_env: str | None = Field(
        None, description="environment variable with the URL of a Slack-compatible incoming webhook"
    )
    mail_to: Annotated[tuple[Address, ...] | None, BeforeValidator(_one_or_many)] = Field(
        None, description="address, or list of addresses, that alerts are mailed to"
    )
    mail_from: Address | None = Field(None, description="sender of these mails; null is the first of mail_to")
    smtp_env: str = Field(
        "ATTRITION_SMTP_URL",
        description="environment variable with the mail server: smtps:// or smtp://USER:PASSWORD@HOST:PORT",
    )
    ping_env: str | None = Field(
        None, description="environment variable with the URL of a dead-man's switch, pinged by every tick"
    )
    clients_per_owner: int = Field(
        10, ge=1, le=100, description="most clients of an owner whom the daily digest names"
    )

    @model_validator(mode="after")
    def _names_variables(self) -> "Alerts":
        # checked here and not by a pattern: the message about a pattern would quote a URL put here by mistake
        for key in ("webhook_env", "smtp_env", "ping_env"):
            name = getattr(self, key)
            if name is not None and not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
                raise ValueError(f"{key} must be the name of an environment variable that holds the URL")
        if self.mail_to == ():
            raise ValueError("mail_to must name an address, or be null")
        return self


class Parallel(Section):
    backend: Literal["serial", "loky", "dask"] = Field(
        "serial",
        description="where models are fitted and many rows scored: serial (one process), loky (processes of "
        "this machine) or dask (a cluster)",
    )
    workers: int | None = Field(
        None, ge=1, le=1024, description="most of them at work at once; null: all cores, or all workers"
    )
    address: Name | None = Field(
        None, description="scheduler of dask: tcp://HOST:PORT, or encrypted tls://HOST:PORT"
    )

    @model_validator(mode="after")
    def _can_be_found(self) -> "Parallel":
        if self.backend == "dask" and self.address is None:
            raise ValueError("address must name the scheduler where backend is dask: tcp://HOST:PORT")
        if self.address is not None and not re.fullmatch(r"(tcp|tls)://[^\s/@]+:[0-9]{1,5}", self.address):
            raise ValueError("address must be tcp://HOST:PORT or tls://HOST:PORT")
        return self


class DeploymentSettings(Section):
    keep: int = Field(5, ge=1, description="predecessors of the live release that are kept for a rollback")
    key_file: Name | None = Field(
        None, description="file with the key that signs releases; null: signing.key in the model folder"
    )


class Settings(Section):
    """config.json as written."""

    input_folder_path: Name = Field(description="folder with the datasets, *.csv")
    output_folder_path: Name = Field(description="folder for the ingested data")
    test_data_path: Name = Field(description="folder with labelled rows that no model is trained on")
    output_model_path: Name = Field(description="folder for models, scores, reports and the run history")
    prod_deployment_path: Name = Field(description="folder for the releases")
    practice: Practice = Practice()
    clients: Clients = Clients()
    database: Database | None = Field(
        None, description="rows from a database: url_env, query, cursor and lookback; null is none"
    )
    ingestion: Ingestion = Ingestion()
    training: Training = Training()
    deployment: DeploymentSettings = DeploymentSettings()
    model_card: ModelCard = ModelCard()
    promotion: Promotion = Promotion()
    drift: Drift = Drift()
    retraining: Retraining = Retraining()
    risk: Risk = Risk()
    api: Api = Api()
    alerts: Alerts = Alerts()
    publish: Publish | None = Field(
        None, description="tables for BI tools in a database: url_env, prefix and keep_runs; null is none"
    )
    parallel: Parallel = Parallel()
