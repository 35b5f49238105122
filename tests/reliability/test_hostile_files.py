"""Files as nobody should make them: the counts always add up, and the same bytes get the same verdict."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import ingestion
from attrition import generations
from attrition.errors import DataError
from tests.projects import HEADER, Project
from tests.reliability import ALL
from tests.reliability.conftest import Tell

EXAMPLES = 1_500 if ALL else 25
COUNTED = ("status", "code", "column", "rows_read", "rejected")
tried = {"files": 0, "ingested": 0, "rejected": 0}

cells = st.one_of(
    st.sampled_from(
        ["", "0", "1", "-1", "nan", "inf", "1e999", "1,5", "0x10", "٣", "=1+1", '"', '""', "a\nb", "\x00"]
    ),
    st.integers(-(10**20), 10**20).map(str),
    st.floats().map(str),
    st.text(max_size=8),
)
sound = st.integers(0, 30).map(lambda i: f"client{i},{i},{i * 9},5,{i % 2}")
rows = st.one_of(sound, sound, sound, st.lists(cells, max_size=7).map(",".join), st.text(max_size=20))
headers = st.sampled_from(
    [HEADER, HEADER, HEADER, HEADER.upper(), f"{HEADER},more", HEADER.replace(",", ";"), ""]
)
encodings = st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1", "utf-32"])
ends = st.sampled_from(["\n", "\n", "\r\n", "\r"])


@st.composite
def written(draw: st.DrawFn) -> bytes:
    end = draw(ends)
    text = end.join([draw(headers), *draw(st.lists(rows, max_size=25))]) + draw(st.sampled_from([end, ""]))
    return text.encode(draw(encodings), "replace")


@st.composite
def nearly_sound(draw: st.DrawFn) -> bytes:
    lines = draw(st.lists(sound, min_size=5, max_size=25))
    lines.insert(draw(st.integers(0, len(lines))), draw(rows))
    return (draw(ends).join([HEADER, *lines]) + "\n").encode("utf-8", "replace")


contents = st.one_of(nearly_sound(), nearly_sound(), written(), st.binary(max_size=300))
names = st.text(st.characters(exclude_characters="/\x00", exclude_categories=["Cs"]), min_size=1, max_size=40)
folders = st.dictionaries(names, contents, min_size=1, max_size=4)


@contextmanager
def ingested(files: dict[str, bytes]) -> Iterator[tuple[Project, ingestion.Ingested | None]]:
    with tempfile.TemporaryDirectory(prefix="attrition-") as folder:
        project = Project(Path(folder))
        for name, content in files.items():
            (project.home / "sourcedata" / f"x{name}.csv").write_bytes(content)
        try:
            yield project, ingestion.run(project.config())
        except DataError:
            yield project, None


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=[*HealthCheck])
@given(files=folders)
@example(files={"a carriage return in a line": f"{HEADER}\nalder,1,9,5,0\n0\rz\n".encode()})
def whatever_comes_is_counted(files: dict[str, bytes]) -> None:
    with ingested(files) as (project, done):
        if done is None:
            return
        config = project.config()
        seen = generations.datasets(generations.require_current(config))
        assert sorted(one["name"] for one in seen) == sorted(f"x{name}.csv" for name in files)
        for one in seen:
            tried["files"] += 1
            tried["ingested"] += one["status"] == "ingested"
            tried["rejected"] += one["status"] == "rejected"
            if one["status"] == "ingested":
                assert one["rows_read"] == one["rows_added"] + one["duplicates"] + one["rejected"], one
        assert done.rows_total == sum(one["rows_kept"] for one in seen)
        assert ingestion.run(config).status == "nothing to do"
        first = {
            one["sha256"]: [one[key] for key in COUNTED] for one in seen if one["status"] != "same content"
        }
        shutil.rmtree(config.ingested_folder)
        ingestion.run(config)
        again = generations.datasets(generations.require_current(config))
        verdicts = {
            one["sha256"]: [one[key] for key in COUNTED] for one in again if one["status"] != "same content"
        }
        assert verdicts == first


def test_whatever_comes_is_counted_and_judged_the_same_twice(tell: Tell) -> None:
    tried.update(dict.fromkeys(tried, 0))
    whatever_comes_is_counted()
    assert tried["ingested"] > 10 and tried["rejected"] > 10
    on = f"{tried['ingested']:,} ingested, {tried['rejected']:,} set aside"
    tell("hostile files", on, EXAMPLES, tried["files"], 0)
