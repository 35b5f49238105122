"""What requests ask and what answers look like, as pydantic models: they check queries, and /openapi.json
is made of them. Answers are built as plain facts, which costs less; tests hold them to these models.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from werkzeug.datastructures import MultiDict

from attrition import changes, plays
from attrition.contract import quoted
from attrition.problems import Refused

MOST_REASONS = 10
MOST_LISTED = 1_000_000
MOST_CHARACTERS = 255


def _whole(value: Any) -> Any:
    # int() would also take 1_0, +1 and digits of other scripts
    if isinstance(value, str) and not (value.isascii() and value.isdecimal() and len(value) < 10):
        raise ValueError("no whole number")
    return value


def _one_of(*allowed: str) -> tuple[Any, ...]:
    def check(value: str) -> str:
        if value not in allowed:
            raise ValueError("none of them")
        return value

    return AfterValidator(check), Field(json_schema_extra={"enum": list(allowed)})


Reasons = Annotated[int, Field(ge=1, le=MOST_REASONS), BeforeValidator(_whole)]
Limit = Annotated[int, Field(ge=1, le=MOST_LISTED), BeforeValidator(_whole)]
Band = Annotated[str, *_one_of(*plays.BANDS)]
Status = Annotated[str, *_one_of(*changes.STATUSES)]
Owner = Annotated[str, Field(max_length=MOST_CHARACTERS)]


class Query(BaseModel):
    """The parameters of an endpoint's query: none that is unknown, none twice."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def asked(cls, given: MultiDict[str, str]) -> "Query":
        """The query as it was asked, or Refused."""
        for name, values in given.lists():
            if len(values) > 1:
                raise Refused(400, f"{quoted(name)} stands twice in the query.")
        try:
            return cls.model_validate(given.to_dict())
        except ValidationError as error:
            raise Refused(400, cls._sentence(str(error.errors()[0]["loc"][0]))) from None

    @classmethod
    def parameters(cls) -> dict[str, dict[str, Any]]:
        """The JSON schema of each parameter; none of them must be given."""
        found = cls.model_json_schema()["properties"] if cls.model_fields else {}
        return {name: _of_one_type(schema) for name, schema in found.items()}

    @classmethod
    def _sentence(cls, name: str) -> str:
        known = cls.parameters()
        if name not in known:
            there = f"; there are {', '.join(known)}" if known else ""
            return f"This endpoint has no parameter {quoted(name)}{there}."
        schema = known[name]
        if "enum" in schema:
            return f"{name} must be one of {', '.join(schema['enum'])}."
        if schema["type"] == "integer":
            return f"{name} must be a whole number from {schema['minimum']} to {schema['maximum']}."
        return f"{name} must have at most {schema['maxLength']} characters."


def _of_one_type(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter that may be left out, without the null that stands for it."""
    told = {key: value for key, value in schema.items() if key not in ("anyOf", "default", "title")}
    return {**next((kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}), {}), **told}


class PageQuery(Query):
    """A page takes what it understands."""

    model_config = ConfigDict(extra="ignore")


class ClientQuery(Query):
    id: str | None = Field(None, description="an id of dots alone, which no path can hold")


class PredictionQuery(Query):
    explain: Reasons | None = Field(None, description="how many reasons each prediction gets")


class RiskQuery(Query):
    limit: Limit | None = Field(None, description="at most so many clients, the most urgent first")
    owner: Owner | None = Field(None, description="only clients of this account manager")
    band: Band | None = Field(None, description="only clients in this risk band")
    status: Status | None = Field(None, description="only clients of this status since the last list")

    @property
    def filters(self) -> dict[str, str]:
        return {
            name: value for name in ("owner", "band", "status") if (value := getattr(self, name)) is not None
        }


Time = Annotated[str, Field(description="UTC", pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")]
Probability = Annotated[float, Field(ge=0, le=1)]


class Reason(BaseModel):
    feature: str
    value: float | str | None = Field(description="the client's own value; null is missing")
    typical: float | str | None = Field(description="that of the typical client who stayed")
    effect: float = Field(description="in log-odds; they go with leaving, they need not cause it")
    sentence: str


class Prediction(BaseModel):
    id: str | int | None
    prediction: int = Field(ge=0, le=1, description="1: leaves")
    probability: Probability
    risk_band: Band
    warnings: list[str] = Field(description="values missing, outside of the training range, or never seen")
    reasons: list[Reason] | None = Field(None, description="with explain, strongest first")


class Predictions(BaseModel):
    release: str
    threshold: Probability
    threshold_from: str
    scored_at: Time
    predictions: list[Prediction]


class Scoring(BaseModel):
    release: str
    threshold: Probability
    threshold_from: str
    scored_at: Time
    f1: float | None = Field(description="on the test rows, when the release was deployed")
    figures: dict[str, Any] = Field(description="each with value, low, high (its interval) and no_skill")
    newest: dict[str, Any] | None = Field(
        description="on the newest labelled rows; null before there are any"
    )


class SummaryStats(BaseModel):
    release: str | None
    diagnosed_at: Time | None
    rows: int | None
    summary: dict[str, Any] = Field(description="by number column")


class Serving(BaseModel):
    release: str | None = None
    threshold: float | None = None
    threshold_from: str | None = None
    scored_at: Time | None = None
    fault: str | None = Field(description="what is wrong with the live release")


class Diagnostics(BaseModel):
    diagnosed_at: Time
    release: str | None
    rows: int
    summary: dict[str, Any]
    missing_percent: dict[str, Any]
    timings: dict[str, Any]
    drift: Any
    packages: dict[str, Any] | None
    serving: Serving


class Client(BaseModel):
    """A line of the risk list; the columns of the client's row stand there too."""

    probability: Probability | None
    risk_band: str | None
    status: str
    release: str | None
    threshold: Probability | None
    scored_at: Time | None


class RiskList(BaseModel):
    release: str | None
    threshold: Probability | None
    scored_at: Time | None
    active: int | None
    at_risk: int | None
    at_stake: Any
    since: Any
    changed: Any
    look_back: Any
    clients: list[Client]


class Stand(BaseModel):
    """Where a client stood on a list that is kept."""

    run: str
    at: Time
    probability: Probability | None
    risk_band: str | None = Field(description="by the bands of today")
    rank: int | None
    release: str


class ClientFacts(BaseModel):
    release: str = Field(description="the one that made the list, which explains it")
    threshold: Probability
    threshold_from: str | None
    scored_at: Time
    note: str | None = Field(description="what keeps the risk from being explained")
    client: Client
    base: float | None = Field(description="log-odds of the typical client who stayed")
    log_odds: float | None = Field(description="base and the effects of all reasons")
    reasons: list[Reason]
    history: list[Stand] = Field(description="oldest first")


class Index(BaseModel):
    service: str
    version: str
    release: str | None
    endpoints: dict[str, str]


class Health(BaseModel):
    service: str
    status: str
    practice: bool


class Ready(BaseModel):
    status: str
    release: str
    last_good_run: Time


class Report(BaseModel):
    """The sections of the report as models/report.json has them."""

    status: dict[str, Any]


class Error(BaseModel):
    row: int | None = Field(description="counted from 0; null: the whole of the data")
    line: int | None = Field(None, description="of a CSV")
    column: str | None
    code: str
    message: str


class Problem(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str = Field(description="a sentence: what is wrong and what to do")
    errors: list[Error] | None = Field(None, description="the wrong values, the first hundred")
