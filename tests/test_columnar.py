"""Whole columns and single rows are judged alike, and DuckDB reads what the csv module reads."""

import csv
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from attrition import contract as contracts
from attrition import merging, parts, sources, tables
from attrition.contract import Contract
from attrition.parts import Part
from attrition.settings import Clients
from attrition.sources import Unreadable
from tests.projects import CHECKOUT

CLIENTS = Clients.model_validate(
    {
        "id": "Client id",
        "target": "gone?",
        "left": "yes",
        "stayed": "no",
        "numeric": ("a", "b"),
        "categorical": ("A",),
        "carry": ('it\'s "month"',),
        "categories": {'it\'s "month"': ("x", "NA", "a b", "it's", "m")},
        "required": ("A", "b"),
        "ranges": {"a": (0, None), "b": (-5, 2e9)},
        "derived": {"share": "a / b", "d": "-(a - 2) * b + 1.5"},
        "rules": (
            {"rule": "a <= share + 10", "severity": "reject"},
            {"rule": "d != 7", "severity": "reject"},
            "a < b",
        ),
    }
)
CONTRACT = contracts.compiled(CLIENTS)
HEADER = list(CLIENTS.columns)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with parts.engine("500MB", tmp_path_factory.mktemp("spill")) as connection:
        yield connection


def part_of(engine: Any, contract: Contract, data: bytes, folder: Path) -> Part:
    path = folder / "dataset.csv"
    path.write_bytes(data)
    with path.open("rb") as stream:
        survey = sources.survey(stream.fileno())
        return parts.make(engine, contract, survey, stream.fileno(), folder / "parts")


def rows_in(engine: Any, part: Part) -> list[dict[str, Any]]:
    """Accepted rows as Contract.judge gives them; they are read as the table's readers do."""
    columns, numbers = CLIENTS.columns, CLIENTS.numbers
    found = engine.execute(f"SELECT line FROM read_parquet('{part.place}') WHERE ok").fetchall()
    rows = tables.read_rows(io.StringIO("".join(f"{line}\n" for (line,) in found), newline=""))
    return [
        {c: float(v or "nan") if c in numbers else v for c, v in zip(columns, row, strict=True)}
        for row in rows
    ]


def same(ours: Any, theirs: Any) -> bool:
    return ours == theirs or (ours != ours and theirs != theirs)


NUMBERS = st.one_of(
    st.sampled_from(
        [
            "",
            " ",
            "0",
            "-0",
            "+5",
            "5.",
            ".5",
            "1e3",
            "1E+3",
            "1_000",
            "1,000",
            "0x10",
            "inf",
            "-inf",
            "nan",
            "1e999",
        ]
    ),
    st.sampled_from(
        ["2", "10", "-5", "-5.1", "1e9", "1000000001", "2e9", " 7\t", "\v8", "9\f", "\u00a05", "٣", "5f"]
    ),
    st.floats(allow_nan=True, allow_infinity=True).map(repr),
    st.integers(-20, 20).map(str),
    st.text(max_size=4),
)
TEXTS = st.one_of(
    st.sampled_from(["x", " x ", "\tx", "NA", "0042", "", "=1", "é", "🙂", "a b"]), st.text(max_size=5)
)
ROWS = st.lists(
    st.tuples(TEXTS, TEXTS, TEXTS, NUMBERS, NUMBERS, st.sampled_from(["yes", "no", "", " yes ", "1", "Yes"])),
    max_size=30,
)


def storable(text: str) -> bool:
    return "\0" not in text and not any(0xD800 <= ord(mark) < 0xE000 for mark in text)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_columns_and_rows_are_judged_alike(engine: Any, tmp_path: Path, rows: list[tuple[str, ...]]) -> None:
    rows = [row for row in rows if all(storable(cell) for cell in row)]
    data = tables.csv_text(HEADER, rows).encode()
    part = part_of(engine, CONTRACT, data, tmp_path)
    verdicts = [CONTRACT.judge(dict(zip(HEADER, row, strict=True))) for row in rows]
    accepted = [verdict.values for verdict in verdicts if verdict.accepted]
    found = rows_in(engine, part)
    assert (part.rows_read, part.accepted) == (len(rows), len(accepted))
    for ours, theirs in zip(found, accepted, strict=True):
        assert all(same(ours[column], theirs[column]) for column in CLIENTS.columns)


LINES = st.lists(
    st.lists(
        st.one_of(
            st.sampled_from(
                ["x", "yes", "no", "1", "2", "", '"q"', '"a""b"', '"x, y"', '"l\nm"', '"c\rd"', 'a"b', '"']
            ),
            st.sampled_from([' "q"', '"q" ', " ", "\t", '"bad"x', "é", "5 "]),
        ),
        min_size=0,
        max_size=8,
    ).map(",".join),
    max_size=12,
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=LINES, end=st.sampled_from(["\n", "\r\n", "\r"]), last=st.booleans(), mark=st.booleans())
@example(
    lines=["x,x,x,1,2,yes", "x", "x,x,x,1,2,maybe", "x,x,x,1,2,3,4", "x,x,x,one,2,no"],
    end="\n",
    last=True,
    mark=False,
)
@example(lines=["x,x,x,1,2,yes", '"l\nm",x,x,1,2,no', "x,x,x,one,2,no"], end="\n", last=True, mark=False)
def test_every_reader_reads_the_same(
    engine: Any, tmp_path: Path, lines: list[str], end: str, last: bool, mark: bool
) -> None:
    text = end.join([tables.csv_text(HEADER, []).rstrip("\n"), *lines]) + (end if last else "")
    data = (("\ufeff" if mark else "") + text).encode()
    for kept in (tmp_path / "parts").glob("*"):
        kept.unlink()
    try:
        wanted = contracts.judge_dataset(CONTRACT, sources.parse("a.csv", data))
    except Unreadable as fault:
        with pytest.raises(Unreadable) as refused:
            part_of(engine, CONTRACT, data, tmp_path)
        assert refused.value.code == fault.code
        return
    part = part_of(engine, CONTRACT, data, tmp_path)
    assert part.rows_read == wanted.rows_read
    found = rows_in(engine, part)
    assert len(found) == len(wanted.rows)
    for ours, theirs in zip(found, wanted.rows, strict=True):
        assert all(same(ours[column], theirs[column]) for column in CLIENTS.columns)
    assert list(part.rejected()) == [(r.line, r.problem, r.row) for r in wanted.rejected]


SMALL = contracts.compiled(Clients.model_validate({"numeric": ("n",)}))
PIECES = st.lists(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["1", "1.0", "2", ""])), max_size=6), max_size=5
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=PIECES, known=st.integers(0, 5))
def test_equal_rows_count_once_in_the_order_of_the_datasets(
    engine: Any, tmp_path: Path, pieces: list[list[tuple[str, str]]], known: int
) -> None:
    merged = []
    for i, piece in enumerate(pieces):
        data = tables.csv_text(["corporation", "n", "exited"], [(c, n, "0") for c, n in piece]).encode()
        name = f'd\', "{i}" #'
        merged.append(merging.Source(name, part_of(engine, SMALL, data + b"\n" * i, tmp_path)))
    known = min(known, len(merged))
    columns = ["corporation", 'a "number"', "#1,\nor none"]
    added = merging.merge(engine, merged, known, tmp_path / "body.csv", columns)
    wanted, seen = [[*columns, "dataset"]], set()
    for i, piece in enumerate(pieces):
        for corporation, n in piece:
            key = (corporation, float(n) if n else None)
            if key not in seen and i >= known:
                wanted.append([corporation, "" if n == "" else n[0], "0", merged[i].name])
            seen.add(key)
    body = list(csv.reader(io.StringIO((tmp_path / "body.csv").read_text())))
    (tmp_path / "body.csv").unlink()
    assert body == wanted
    assert added == [sum(row[3] == source.name for row in wanted) for source in merged[known:]]


def test_many_rows_keep_their_order_where_some_of_them_are_dropped(engine: Any, tmp_path: Path) -> None:
    merged = []
    for i in range(2):
        # more than DuckDB gives to one thread; every hundredth row is like the one before it
        rows = [(f"client {j - (j % 100 == 99)}", str(i), "0") for j in range(300_000)]
        data = tables.csv_text(["corporation", "n", "exited"], rows).encode()
        merged.append(merging.Source(f"{i}", part_of(engine, SMALL, data, tmp_path)))
    added = merging.merge(engine, merged, 0, tmp_path / "body.csv")
    wanted = [f"client {j},{i},0,{i}" for i in range(2) for j in range(300_000) if j % 100 != 99]
    assert added == [297_000, 297_000]
    assert (tmp_path / "body.csv").read_text().splitlines() == wanted
    places = ", ".join(f"'{source.part.place}'" for source in merged)
    counted = f"SELECT count(DISTINCT line) - count(DISTINCT h) FROM read_parquet([{places}])"
    assert engine.execute(counted).fetchone()[0] > 0, "some rows that differ have the same hash"


def test_marks_are_seen_below_the_header_and_wherever_they_stand(engine: Any, tmp_path: Path) -> None:
    clients = {"numeric": ("last_month",)}
    contract = contracts.compiled(Clients.model_validate(clients))
    plain = [(f"client {i}", "1", "0") for i in range(30_000)]
    for cells, written in {
        ("a#b", "1.50", "0"): '"a#b",1.5,0',
        (" c ", "2", "0"): "c,2,0",
        ("\td", "2", "0"): "d,2,0",
        ("e_f", "2", " 0"): "e_f,2,0",
        ("g", "1_000", "0"): None,
    }.items():
        data = "".join(
            f"{','.join(row)}\n" for row in [("corporation", "last_month", "exited"), *plain, cells]
        )
        assert len(data) > sources.PIECE
        part = part_of(engine, contract, data.encode(), tmp_path)
        lines = engine.execute(f"SELECT line FROM read_parquet('{part.place}') WHERE ok").fetchall()
        assert [line for (line,) in lines[30_000:]] == ([written] if written else [])
        assert [row for _, _, row in part.rejected()] == ([] if written else [",".join(cells)])


def test_a_part_keeps_the_order_of_the_file_however_many_categories_there_are(
    engine: Any, tmp_path: Path
) -> None:
    places = tuple("abcdefgh")
    clients = {"numeric": ("n",), "categorical": ("place",), "categories": {"place": places}}
    contract = contracts.compiled(Clients.model_validate(clients))
    rows = [(f"client {i}", places[i % 8], f"{i}", "0") for i in range(800_000)]
    data = tables.csv_text(["corporation", "place", "n", "exited"], rows).encode()
    part = part_of(engine, contract, data, tmp_path)
    lines = f"SELECT line FROM read_parquet('{part.place}') ORDER BY file_row_number"
    written = [f"{client},{place},{n},0" for client, place, n, _ in rows]
    assert [line for (line,) in engine.execute(lines).fetchall()] == written


def test_an_unknown_part_is_forgotten_and_a_cut_one_made_again(engine: Any, tmp_path: Path) -> None:
    data = tables.csv_text(HEADER, [("x", "m", "c", "1", "2", "yes")]).encode()
    part = part_of(engine, CONTRACT, data, tmp_path)
    (tmp_path / "parts" / "more.parquet").write_text("x")
    part.place.write_bytes(part.place.read_bytes()[:-1])
    again = part_of(engine, CONTRACT, data, tmp_path)
    assert rows_in(engine, again) == rows_in(engine, part)
    parts.forget(tmp_path / "parts", [again])
    assert sorted(p.suffix for p in (tmp_path / "parts").iterdir()) == [".csv", ".json", ".parquet"]


def test_the_engine_draws_nothing_on_standard_output(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from attrition import parts\n"
        "with parts.engine('1GB', Path(sys.argv[1])) as engine:\n"
        "    asked = \"SELECT current_setting('enable_progress_bar')\"\n"
        "    assert engine.execute(asked).fetchone() == (False,)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=CHECKOUT, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
