"""Every row of two tables of the attack list: CSV content, and the life cycle of an ingested file.

WHERE names the tests of each row: here, or in tests/test_ingestion.py where they stood before.
"""

import bz2
import contextlib
import csv
import gzip
import io
import json
import lzma
import os
import random
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import diagnostics
import ingestion
from attrition import generations, parts, tables
from tests import test_ingestion
from tests.projects import CHECKOUT, HEADER, Project, classic_rows

A, B, C = "alder,10,100,5,0", "birch,20,200,6,1", "cedar,30,300,7,"
GOOD = [f"client{i},{i},{i * 9},5,{i % 2}" for i in range(60)]
READ = "test_every_usual_kind_of_csv_is_ingested"
ASIDE = "test_what_cannot_be_read_is_set_aside_whole_and_the_others_go_on"
WHERE = {
    "BOM, CRLF, CR, no final newline, extra columns": [READ],
    "quoted newline": ["test_a_quoted_newline_is_part_of_a_name"],
    "UTF-16 with and without BOM, latin-1": [ASIDE],
    "gz, zip bytes": [ASIDE],
    ".csv.gz": ["test_a_packed_file_is_no_dataset_and_is_never_unpacked"],
    "duplicate columns": [ASIDE],
    "row 1 longer than the header, a trailing comma on every row": [ASIDE],
    "later row longer or shorter": [
        "test_a_later_row_of_another_length_is_rejected_with_its_line_and_its_own_text"
    ],
    "unclosed quote, empty, blank lines": [ASIDE],
    "header only": ["test_a_dataset_without_rows_is_ingested_with_a_warning"],
    "; separated, wrong case, missing column": [ASIDE],
    "NaN, inf, 1e999, negative, 0x10, 1_000, ...": [
        "test_what_is_no_usable_number_rejects_its_row_and_no_other"
    ],
    "label 2, -1, 0.5, yes, empty": [
        "test_a_label_that_is_none_rejects_its_row_and_a_blank_one_is_not_known_yet",
        "test_above_the_allowed_share_the_whole_dataset_is_set_aside",
    ],
    "company literally NA, None, null": ["test_a_company_may_be_called_anything"],
    "10^6-column header, 100 MB field": [ASIDE],
    "= + - @ TAB CR NUL and fullwidth first": [
        "test_a_company_may_be_called_anything",
        "test_a_formula_is_data_in_the_table_and_guarded_in_the_list_for_people",
    ],
    "still being written": [
        "test_what_is_still_being_written_is_left_for_the_next_run",
        "test_a_dataset_that_changes_between_two_looks_never_lends_its_rows_to_the_earlier_content",
        "test_a_dataset_that_is_rewritten_all_the_time_is_never_torn",
    ],
    "same name, new content; changed after ingestion": ["test_a_corrected_dataset_replaces_its_old_rows"],
    "same content, new name": [
        "test_the_same_content_under_a_new_name_is_counted_once",
        "test_a_renamed_dataset_counts_once",
    ],
    "removed after ingestion": [
        "test_rows_of_a_removed_dataset_stay_and_the_removal_is_told_once",
        "test_diagnostics_names_the_datasets_that_were_removed",
    ],
    "EACCES": [
        "test_a_dataset_that_may_not_be_read_is_set_aside_until_it_may",
        "test_a_folder_without_permission_is_a_sentence_and_leaves_the_old_state",
    ],
    "EIO": ["test_a_dataset_on_a_failing_disk_is_set_aside_and_the_others_go_on"],
    "symlink, loop, FIFO, directory, device": [
        "test_links_folders_and_pipes_are_set_aside_and_never_waited_for",
        "test_sockets_and_devices_are_set_aside_and_never_waited_for",
    ],
    "name with newline, quote, non-UTF-8 byte, 255 chars, RTL mark": [
        "test_a_dataset_may_have_any_name",
        "test_a_carriage_return_in_a_name_stays_one_in_the_metrics",
    ],
    "clock backwards, mtime in 2038+ or 1970": [
        "test_the_clock_decides_nothing",
        "test_a_time_in_the_future_does_not_keep_a_dataset_out_for_ever",
    ],
    "disk full in each write": [
        "test_a_full_disk_in_each_write_leaves_the_old_state_and_the_next_run_heals",
        "test_a_file_size_limit_in_a_write_leaves_the_old_state_and_the_next_run_heals",
    ],
    "disjoint columns, 0 rows, one class, all rows duplicates": [
        "test_data_that_teaches_nothing_makes_no_new_model_and_the_reason_is_told",
        "test_data_that_teaches_nothing_makes_no_first_model_and_the_reason_is_told",
    ],
}
OF_PEOPLE = ("sourcedata/", "testdata/", "practicedata/", "config.json")


def test_every_row_of_the_tables_has_its_tests() -> None:
    defined = {*globals(), *vars(test_ingestion)}
    assert {name for names in WHERE.values() for name in names} - defined == set()


def ingest(project: Project) -> ingestion.Ingested:
    return ingestion.run(project.config())


def table(project: Project) -> list[list[str]]:
    with (project.home / "ingesteddata/finaldata.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream, strict=True))[1:]


def rejected(project: Project) -> list[dict[str, str]]:
    with (project.home / "ingesteddata/rejectedrows.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, strict=True))


def metrics(project: Project) -> list[dict[str, str]]:
    with (project.home / "ingesteddata/ingestionmetrics.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, strict=True))


def entries(project: Project) -> dict[str, dict[str, Any]]:
    known = generations.datasets(generations.require_current(project.config()))
    return {entry["name"]: entry for entry in known}


def left_behind(project: Project) -> list[str]:
    """Drafts and folders to work in that somebody should have removed."""
    return [name for name in project.snapshot() if "/." in name and not name.startswith(OF_PEOPLE)]


def fields(line: str) -> list[str]:
    return next(csv.reader([line], strict=True))


# --- CSV content


def zipped(data: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("clients.csv", data)
    return stream.getvalue()


PLAIN = f"{HEADER}\n{A}\n{B}\n"
TURNED = "exited,shoe size,number_of_employees,lastyear_activity,lastmonth_activity,corporation"
USUAL = {
    "byte order mark": b"\xef\xbb\xbf" + PLAIN.encode(),
    "CRLF": PLAIN.replace("\n", "\r\n").encode(),
    "CR": PLAIN.replace("\n", "\r").encode(),
    "mixed line ends": PLAIN.replace("\n", "\r\n", 1).encode(),
    "no final newline": PLAIN.rstrip("\n").encode(),
    "blank lines at the end": f"{PLAIN}\n\r\n\n".encode(),
    "everything quoted": "".join(
        '"{}"\n'.format(line.replace(",", '","')) for line in PLAIN.splitlines()
    ).encode(),
    "extra columns in another order": f"{TURNED}\n0,44,5,100,10,alder\n1,,6,200,20,birch\n".encode(),
    "blanks around cells": f"{HEADER}\n alder ,\t10, 100,5 , 0\nbirch,20,200,6,1\n".encode(),
}


@pytest.mark.parametrize("content", USUAL.values(), ids=USUAL.keys())
def test_every_usual_kind_of_csv_is_ingested(project: Project, content: bytes) -> None:
    project.write("sourcedata/a.csv", content)
    done = ingest(project)
    assert table(project) == [fields(f"{A},a.csv"), fields(f"{B},a.csv")]
    assert (done.rows_read, done.rows_rejected) == (2, 0)


def test_a_quoted_newline_is_part_of_a_name(project: Project) -> None:
    project.write("sourcedata/a.csv", f'{HEADER}\n"al\nder",10,100,5,0\n"bi\r\nrch",20,200,6,1\n{C}\n')
    ingest(project)
    assert [row[0] for row in table(project)] == ["al\nder", "bi\r\nrch", "cedar"]


UNFIT: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "UTF-16 with a mark": (lambda: PLAIN.encode("utf-16"), "encoding", "it is UTF-16"),
    "UTF-16-BE with a mark": (lambda: b"\xfe\xff" + PLAIN.encode("utf-16-be"), "encoding", "it is UTF-16"),
    "UTF-16-LE without a mark": (lambda: PLAIN.encode("utf-16-le"), "nul_bytes", "it holds NUL bytes"),
    "UTF-16-BE without a mark": (lambda: PLAIN.encode("utf-16-be"), "nul_bytes", "it holds NUL bytes"),
    "a NUL far behind": (lambda: f"{PLAIN * 9000}x\0y,1,2,3,0\n".encode(), "nul_bytes", "NUL bytes"),
    "latin-1": (lambda: f"{PLAIN}M\xfcller,1,2,3,0\n".encode("latin-1"), "encoding", "line 4 is not UTF-8"),
    "gzip": (lambda: gzip.compress(PLAIN.encode()), "compressed", "gzip"),
    "zip": (lambda: zipped(PLAIN.encode()), "compressed", "zip"),
    "bzip2": (lambda: bz2.compress(PLAIN.encode()), "compressed", "bzip2"),
    "xz": (lambda: lzma.compress(PLAIN.encode()), "compressed", "xz"),
    "duplicate columns": (lambda: f"{HEADER},exited\n{A},0\n".encode(), "duplicate_columns", "'exited'"),
    "first row longer": (lambda: f"{HEADER}\n{A},x\n{B}\n".encode(), "ragged", "6 fields"),
    "trailing comma on every row": (lambda: f"{HEADER}\n{A},\n{B},\n".encode(), "ragged", "6 fields"),
    "first row shorter": (lambda: f"{HEADER}\nalder,1\n{B}\n".encode(), "ragged", "2 fields"),
    "unclosed quote": (lambda: f'{HEADER}\n{A}\n"birch,1,2,3,0\n'.encode(), "not_csv", "line 3"),
    "text after a quote": (lambda: f'{HEADER}\n{A}\n"bi"rch,1,2,3,0\n'.encode(), "not_csv", "line 3"),
    "empty": (lambda: b"", "empty", "it is empty"),
    "blank lines": (lambda: b"\n\r\n  \n\n", "empty", "it is empty"),
    "only a mark": (lambda: b"\xef\xbb\xbf\n", "empty", "it is empty"),
    "semicolons": (lambda: PLAIN.replace(",", ";").encode(), "missing_column", "by commas"),
    "tabs": (lambda: PLAIN.replace(",", "\t").encode(), "missing_column", "by commas"),
    "wrong case": (lambda: PLAIN.replace("exited", "Exited").encode(), "missing_column", "write exited"),
    "missing column": (lambda: b"corporation,exited\nx,1\n", "missing_column", "lastmonth_activity"),
    "a million columns": (lambda: b"c," * 1_000_000 + b"\n1\n", "header_too_long", "65536"),
    "100 MB field": (
        lambda: f"{HEADER}\n{A}\n".encode() + b"x" * 100_000_000 + b",1,2,3,0\n",
        "not_csv",
        "line 3",
    ),
}


@pytest.mark.parametrize(("content", "code", "said"), UNFIT.values(), ids=UNFIT.keys())
def test_what_cannot_be_read_is_set_aside_whole_and_the_others_go_on(
    project: Project, content: Callable[[], bytes], code: str, said: str
) -> None:
    project.dataset("good.csv", [A, B])
    project.write("sourcedata/unfit.csv", content())
    done = ingest(project)
    assert table(project) == [fields(f"{A},good.csv"), fields(f"{B},good.csv")]
    assert (done.datasets_rejected, done.rows_read, done.rows_added) == (["unfit.csv"], 2, 2)
    (told,) = rejected(project)
    assert (told["dataset"], told["line"], told["code"]) == ("unfit.csv", "", code)
    assert said in told["message"]
    assert len(told["message"]) < 300 and "\n" not in told["message"] and "/" not in told["message"]
    assert entries(project)["unfit.csv"]["reason"] == told["message"]


def test_a_packed_file_is_no_dataset_and_is_never_unpacked(project: Project) -> None:
    project.dataset("good.csv", [A])
    project.write("sourcedata/bomb.csv.gz", gzip.compress(f"{HEADER}\n{B}\n".encode() * 10_000))
    ingest(project)
    assert list(entries(project)) == ["good.csv"]


READERS = {
    "read by DuckDB": lambda rows: rows,
    # a newline in a field is for the csv module
    "read by the csv module": lambda rows: ['"two\nlines",1,2,3,0', *rows],
}


@pytest.mark.parametrize("form", READERS.values(), ids=READERS.keys())
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_a_later_row_of_another_length_is_rejected_with_its_line_and_its_own_text(
    project: Project, form: Callable[[list[str]], list[str]], end: str
) -> None:
    short, long, blank = "oak,1", 'fir,"1, or ""2""",2,3,0,x,y', ""
    rows = form([*GOOD, short, A, long, blank, B])
    project.write("sourcedata/a.csv", end.join([HEADER, *rows, ""]))
    done = ingest(project)
    text = end.join([HEADER, *rows, ""]).splitlines()
    assert [(r["line"], r["code"], r["row"]) for r in rejected(project)] == [
        (str(text.index(short) + 1), "ragged", short),
        (str(text.index(long) + 1), "ragged", long),
        (str(text.index(blank) + 1), "blank_line", blank),
    ]
    assert (done.rows_read, done.rows_rejected) == (len(rows), 3)
    assert len(table(project)) == len(rows) - 3


def test_a_dataset_without_rows_is_ingested_with_a_warning(project: Project) -> None:
    project.dataset("a.csv", [A])
    project.dataset("header-only.csv", [])
    done = project.run("ingestion.py")
    assert done.returncode == 0
    assert entries(project)["header-only.csv"]["status"] == "ingested"
    assert "header-only.csv" in done.stderr and "no rows" in done.stderr


NO_NUMBERS = [
    *("NaN", "nan", "inf", "-inf", "Infinity", "1e999", "-1e999", "-5", "0x10", "1_000", '"1,000"', "1 000"),
    *(
        "\u0661\u0662",
        "\u22125",
        "100000000000000000000",
        "1e20",
        "5f",
        "true",
        "--1",
        "1e",
        ".",
        "1..2",
        "$5",
    ),
]


@pytest.mark.parametrize("form", READERS.values(), ids=READERS.keys())
def test_what_is_no_usable_number_rejects_its_row_and_no_other(
    project: Project, form: Callable[[list[str]], list[str]]
) -> None:
    project.configure(
        clients={"ranges": {"lastmonth_activity": [0, None]}},
        ingestion={"settle_seconds": 0, "max_rejected_share": 0.5},
    )
    bad = [f"oak{i},{number},100,5,0" for i, number in enumerate(NO_NUMBERS)]
    rows = form([row for pair in zip(GOOD, bad, strict=False) for row in pair])
    project.dataset("a.csv", rows)
    done = ingest(project)
    lines = "\n".join([HEADER, *rows]).split("\n")
    told = rejected(project)
    assert [fields(tables_unguarded(r["row"])) for r in told] == [fields(row) for row in bad]
    assert [r["line"] for r in told] == [str(lines.index(row) + 1) for row in bad]
    assert {r["column"] for r in told} == {"lastmonth_activity"}
    assert {r["code"] for r in told} == {"not_a_number", "out_of_range"}
    assert done.rows_added == len(rows) - len(bad)


def tables_unguarded(text: str) -> str:
    """A cell of an export without the mark that keeps a spreadsheet from taking it for a formula."""
    return text[1:] if text.startswith("'") and text[1:].startswith(tuple(tables.FORMULA_STARTS)) else text


def test_a_label_that_is_none_rejects_its_row_and_a_blank_one_is_not_known_yet(project: Project) -> None:
    labels = ["2", "-1", "0.5", "yes", "1.0", "true", "01"]
    project.dataset("a.csv", [*GOOD, *(f"oak{i},1,2,3,{label}" for i, label in enumerate(labels)), C])
    done = ingest(project)
    assert [fields(tables_unguarded(r["row"]))[-1] for r in rejected(project)] == labels
    assert {(r["column"], r["code"]) for r in rejected(project)} == {("exited", "bad_outcome")}
    assert done.rows_added == len(GOOD) + 1
    assert table(project)[-1] == ["cedar", "30", "300", "7", "", "a.csv"]


NAMES = [
    *("NA", "N/A", "None", "null", "NULL", "nan", "NaN", "inf", "true", "-", "0042", "1e5", "1_000", "#N/A"),
    *(
        "=cmd|' /C calc'!A0",
        "+1",
        "-1",
        "@SUM(A1)",
        "\uff1dx",
        "\uff0bx",
        "\uff0dx",
        "\uff20x",
        '"',
        "a,b",
        "'",
    ),
    *(
        "\u202etxt.exe",
        "🙂",
        "\u00a0x",
        "x\ty",
        "<script>alert(1)</script>",
        "${jndi:ldap://x}",
        "x" * 100_000,
    ),
]


@pytest.mark.parametrize("before", [[], ['"two\nlines",1,2,3,0']], ids=READERS.keys())
def test_a_company_may_be_called_anything(project: Project, before: list[str]) -> None:
    rows = tables.csv_text(HEADER.split(","), [[name, "1", "2", "3", "0"] for name in NAMES])
    project.write("sourcedata/a.csv", rows + "".join(f"{row}\n" for row in before))
    done = ingest(project)
    assert [row[0] for row in table(project)][: len(NAMES)] == NAMES
    assert done.rows_rejected == 0


def test_white_space_around_a_name_is_no_part_of_it(project: Project) -> None:
    project.write("sourcedata/a.csv", f'{HEADER}\n"\t=a",1,2,3,0\n"\r=b\r\n",1,2,3,0\n  c ,1,2,3,0\n')
    ingest(project)
    assert [row[0] for row in table(project)] == ["=a", "=b", "c"]


def test_a_formula_is_data_in_the_table_and_guarded_in_the_list_for_people(project: Project) -> None:
    starts = [
        "=cmd|' /C calc'!A0",
        "+x",
        "-x",
        "@x",
        "\tx",
        "\rx",
        "\uff1dx",
        "\uff0bx",
        "\uff0dx",
        "\uff20x",
    ]
    bad = tables.csv_text([], [[start, start, "-5", "3", "0"] for start in starts]).lstrip("\n")
    project.write("sourcedata/=formula.csv", "\n".join([HEADER, *GOOD, bad]))
    ingest(project)
    told = rejected(project)
    assert [fields(tables_unguarded(r["row"]))[0] for r in told] == starts
    for row in told:
        assert not any(cell.startswith(tuple(tables.FORMULA_STARTS)) for cell in row.values())
        assert row["dataset"] == "'=formula.csv"
    assert table(project)[0][-1] == "=formula.csv"


# --- rows_read = rows_added + duplicates + rows_rejected

KINDS = {
    "good": [f"client{i},{i},{i * 2},3,{i % 2}" for i in range(6)],
    "the same in other words": [f" client{i} ,{i}.0,{i * 2}e0,+3,{i % 2}" for i in range(6)],
    "quoted": ['"two\nlines",1,2,3,0', '"a, b",1,2,3,1', '"say ""hi""",1,2,3,'],
    "bad": ["oak,many,2,3,0", "oak,1,2,3,7", ",1,2,3,0", '"oak\nelm",1,2,x,0', "oak,nan,inf,-inf,maybe"],
    "ragged": ["oak,1", "oak,1,2,3,0,", '"oak\n",1', ""],
}
ACCEPTED = ("good", "the same in other words", "quoted")
# a good row stands before and behind them: a ragged one first, or a blank one last, has another meaning
ROWS = st.lists(st.sampled_from([(kind, row) for kind, rows in KINDS.items() for row in rows]), max_size=12)
DATASET = st.tuples(st.sampled_from(["\n", "\r\n"]), ROWS)


def meaning(row: str) -> tuple[Any, ...]:
    """What makes two rows equal: text without white space around it, numbers by value."""
    name, *numbers, outcome = next(csv.reader(io.StringIO(row, newline=""), strict=True))
    return (name.strip(), *map(float, numbers), outcome)


@settings(max_examples=30, deadline=None, suppress_health_check=[*HealthCheck])
@given(batches=st.lists(st.lists(DATASET, min_size=1, max_size=3), min_size=1, max_size=2))
@example(batches=[[("\n", [("good", KINDS["good"][0])] * 3)], [("\r\n", [("bad", KINDS["bad"][3])])]])
def test_every_row_is_added_a_duplicate_or_rejected_for_every_dataset_and_run(
    tmp_path_factory: pytest.TempPathFactory, batches: Sequence[Sequence[tuple[str, Any]]]
) -> None:
    project = Project(tmp_path_factory.mktemp("mix"))
    project.configure(ingestion={"settle_seconds": 0, "max_rejected_share": 1})
    known: set[tuple[Any, ...]] = set()
    names: list[str] = []
    for batch in batches:
        expected = []
        for end, rows in batch:
            names.append(f"d{len(names)}.csv")
            # no two alike: the same content under two names is another matter
            rows = [("good", f"{names[-1]},1,2,3,0"), *rows, ("good", f"{names[-1]},1,2,3,1")]
            project.write(f"sourcedata/{names[-1]}", end.join([HEADER, *(row for _, row in rows), ""]))
            accepted = [meaning(row) for kind, row in rows if kind in ACCEPTED]
            added = len({*known, *accepted}) - len(known)
            known.update(accepted)
            expected.append((len(rows), added, len(accepted) - added, len(rows) - len(accepted)))
        done = ingest(project)
        counted = [
            tuple(int(line[key]) for key in ("rows_read", "rows_added", "duplicates", "rejected"))
            for line in metrics(project)[-len(batch) :]
        ]
        assert counted == expected
        assert (done.rows_read, done.rows_added, done.duplicates, done.rows_rejected) == tuple(
            map(sum, zip(*expected, strict=True))
        )
        assert done.rows_total == len(table(project)) == len(known)
    for name, entry in entries(project).items():
        assert entry["rows_read"] == entry["rows_added"] + entry["duplicates"] + entry["rejected"]
        lines = {row["line"] for row in rejected(project) if row["dataset"] == name}
        assert len(lines) == entry["rejected"]


# --- ingestion / file system life cycle


def test_a_renamed_dataset_counts_once(project: Project) -> None:
    path = project.dataset("b.csv", [A, B])
    project.dataset("c.csv", [C])
    ingest(project)
    for name in ("z.csv", "a.csv"):
        path = path.rename(path.with_name(name))
        done = ingest(project)
        assert (done.datasets_new, done.rows_total) == ([name], 3)
        assert sorted(row[0] for row in table(project)) == ["alder", "birch", "cedar"]


def test_diagnostics_names_the_datasets_that_were_removed(project: Project) -> None:
    project.dataset("a.csv", [A])
    path = project.dataset("gone.csv", [B])
    ingest(project)
    path.unlink()
    ingest(project)
    assert "gone.csv" in json.dumps(diagnostics.datasets(generations.require_current(project.config())))


def test_sockets_and_devices_are_set_aside_and_never_waited_for(project: Project) -> None:
    project.dataset("a.csv", [A])
    with socket.socket(socket.AF_UNIX) as server:
        folder = os.open(project.home / "sourcedata", os.O_DIRECTORY)
        # a socket's path must be short
        server.bind(f"/proc/self/fd/{folder}/socket.csv")
        os.close(folder)
    # only root may make a device, and not everywhere
    with contextlib.suppress(PermissionError):
        os.mknod(project.home / "sourcedata/device.csv", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    made = sorted({path.name for path in (project.home / "sourcedata").iterdir()} - {"a.csv"})
    assert ingest(project).datasets_rejected == made
    assert "socket.csv" in made
    assert {(r["line"], r["row"]) for r in rejected(project)} == {("", "")}
    assert table(project) == [fields(f"{A},a.csv")]


def program(name: str, package: str) -> str:
    """A program's path; without it the test is skipped, but where CI=true .ci/run has installed it."""
    if found := shutil.which(name):
        return found
    reason = f"{name} is not installed (Debian, Ubuntu: apt-get install {package})"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def run_under(command: Sequence[str], project: Project, *flags: str) -> "subprocess.CompletedProcess[str]":
    """ingestion.py under another program."""
    script = [sys.executable, str(CHECKOUT / "ingestion.py"), "--config", str(project.home / "config.json")]
    return subprocess.run([*command, *script, *flags], capture_output=True, text=True, cwd="/", timeout=120)


@pytest.fixture
def bound() -> list[str]:
    """The start of a command that must obey the permission bits, as root does not."""
    if os.geteuid() != 0:
        return []
    return [program("setpriv", "util-linux"), "--bounding-set=-dac_override,-dac_read_search"]


def test_a_dataset_that_may_not_be_read_is_set_aside_until_it_may(project: Project, bound: list[str]) -> None:
    project.dataset("a.csv", [A])
    path = project.dataset("b.csv", [B])
    path.chmod(0)
    first = run_under(bound, project, "-q")
    assert (first.returncode, first.stdout) == (0, "")
    assert "b.csv is set aside: it cannot be opened (Permission denied)" in first.stderr
    assert len(first.stderr.splitlines()) == 1
    second = run_under(bound, project, "-q")
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    path.chmod(0o600)
    assert run_under(bound, project).returncode == 0
    assert table(project) == [fields(f"{A},a.csv"), fields(f"{B},b.csv")]


@pytest.mark.parametrize("folder", ["sourcedata", "ingesteddata", "ingesteddata/parts", "models"])
def test_a_folder_without_permission_is_a_sentence_and_leaves_the_old_state(
    project: Project, bound: list[str], folder: str
) -> None:
    project.dataset("a.csv", [A])
    assert project.run("ingestion.py").returncode == 0
    project.dataset("b.csv", [B])
    (project.home / folder).chmod(0o000 if folder == "sourcedata" else 0o500)
    if folder == "models":
        (project.home / "models/pipeline.lock").unlink()
    failed = run_under(bound, project)
    (project.home / folder).chmod(0o700)
    assert failed.returncode == 1
    assert "Permission denied" in failed.stderr and "Traceback" not in failed.stderr
    assert table(project) == [fields(f"{A},a.csv")]
    healed = run_under(bound, project)
    assert (healed.returncode, healed.stderr) == (0, "")
    assert table(project) == [fields(f"{A},a.csv"), fields(f"{B},b.csv")]
    assert left_behind(project) == []


@pytest.mark.parametrize("call", ["read", "pread64"], ids=["at the first look", "when it is parsed"])
def test_a_dataset_on_a_failing_disk_is_set_aside_and_the_others_go_on(project: Project, call: str) -> None:
    strace = program("strace", "strace")
    project.dataset("a.csv", [A])
    path = project.dataset("b.csv", [B])
    trace = project.home.parent / f"{project.home.name}-trace.txt"
    failing = [strace, "-f", "-o", str(trace), "-P", str(path), "-e", f"trace={call}"]
    done = run_under([*failing, "-e", f"inject={call}:error=EIO"], project)
    if "ptrace" in done.stderr.lower():
        pytest.skip(f"this machine lets nobody trace: {done.stderr.strip()}")
    assert "(INJECTED)" in trace.read_text()
    assert done.returncode == 0, done.stderr
    assert "b.csv is set aside: it cannot be read (Input/output error)" in done.stderr
    assert table(project) == [fields(f"{A},a.csv")]
    project.dataset("c.csv", [C])
    assert project.run("ingestion.py").returncode == 0
    assert [row[0] for row in table(project)] == ["alder", "birch", "cedar"]


def test_a_carriage_return_in_a_name_stays_one_in_the_metrics(project: Project) -> None:
    project.dataset("a\rb.csv", [A])
    ingest(project)
    project.dataset("c.csv", [B])
    ingest(project)
    assert [line["dataset"] for line in metrics(project)] == ["a\rb.csv", "c.csv"]


def test_the_clock_decides_nothing(project: Project) -> None:
    project.configure()
    times = {"a.csv": 2**33, "b.csv": 0, "c.csv": -(10**9), "d.csv": 2**31 + 5}
    for name, at in times.items():
        os.utime(project.dataset(name, [f"{name},1,2,3,0"]), (at, at))
    project.config()
    ingest(project)
    assert [row[-1] for row in table(project)] == list(times)
    for number, at in enumerate((2**33, 1, 2**33, 1), 2):
        # as if the clock had been set back, or forward, since the last run
        for folder in (project.home / "ingesteddata/generations").iterdir():
            os.utime(folder, (at, at))
        project.dataset(f"e{number}.csv", [f"e{number},1,2,3,0"])
        assert ingest(project).generation == (project.home / "ingesteddata/current").readlink().name
        assert (project.home / "ingesteddata/current").readlink().name.startswith(f"00000{number}-")
    assert len(table(project)) == 8


# --- a dataset that changes while it is read


def version(number: int) -> list[str]:
    """All rows tell their version; all versions have the same size."""
    return [f"client{i},{number},{number},{number},0" for i in range(300)]


def versions_in(project: Project) -> list[list[str]]:
    """The distinct numbers in the rows of a.csv, and how many rows there are."""
    rows = [row for row in table(project) if row[-1] == "a.csv"]
    return [sorted({row[1] for row in rows}), [str(len(rows))]] if rows else []


@pytest.fixture
def ingest_while_a_is_rewritten(project: Project, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """An ingestion that finds version 1 in a.csv and version 2 when it comes to parse it."""
    make = parts.make

    def make_after_a_change(*given: Any, **named: Any) -> Any:
        project.dataset("a.csv", version(2))
        return make(*given, **named)

    def ingest_meanwhile() -> None:
        project.dataset("a.csv", version(1))
        project.here = True
        with monkeypatch.context() as patched:
            patched.setattr(parts, "make", make_after_a_change)
            project.run("ingestion.py")

    return ingest_meanwhile


def test_a_dataset_that_changes_between_two_looks_never_lends_its_rows_to_the_earlier_content(
    project: Project, ingest_while_a_is_rewritten: Callable[[], None]
) -> None:
    project.dataset("0.csv", [A])
    ingest(project)
    ingest_while_a_is_rewritten()
    assert versions_in(project) == []
    project.dataset("a.csv", version(1))
    assert ingest(project).datasets_new == ["a.csv"]
    assert versions_in(project) == [["1"], ["300"]]


def test_a_dataset_that_is_still_being_written_is_no_twin_of_another(
    project: Project, ingest_while_a_is_rewritten: Callable[[], None]
) -> None:
    project.dataset("b.csv", version(1))
    ingest_while_a_is_rewritten()
    assert entries(project)["b.csv"]["status"] == "ingested"
    assert len(table(project)) == 300


def test_where_the_only_dataset_is_still_being_written_no_empty_table_is_published(
    project: Project, ingest_while_a_is_rewritten: Callable[[], None]
) -> None:
    ingest_while_a_is_rewritten()
    assert not (project.home / "ingesteddata/current").exists()


def test_a_dataset_that_is_rewritten_all_the_time_is_never_torn(project: Project) -> None:
    project.dataset("0.csv", [A])
    ingest(project)
    pause, stop = random.Random(0), threading.Event()
    taken: set[str] = set()

    def rewrite() -> None:
        number = 0
        while not stop.is_set():
            number = number % 5 + 1
            content = "\n".join([HEADER, *version(number), ""]).encode()
            with (project.home / "sourcedata/a.csv").open("r+b" if number > 1 else "wb") as stream:
                # pieces further apart than the ticks of a coarse file clock
                for piece in range(0, len(content), 2000):
                    stream.write(content[piece : piece + 2000])
                    stream.flush()
                    time.sleep(0.012)
            time.sleep(pause.uniform(0.05, 0.3))

    project.dataset("a.csv", version(5))
    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        deadline = time.monotonic() + 6
        while time.monotonic() < deadline and len(taken) < 4:
            ingest(project)
            found = versions_in(project)
            if found:
                assert len(found[0]) == 1 and found[1] == ["300"], found
                taken.add(found[0][0])
    finally:
        stop.set()
        writer.join()
    ingest(project)
    final = (project.home / "sourcedata/a.csv").read_text().splitlines()[1].split(",")[1]
    assert versions_in(project) == [[final], ["300"]]


# --- disk full

# Within a file system of its own, ever fewer pages of which are free: every write is once the one that fails.
FILLING = """
import ctypes, json, os, sys, traceback
from pathlib import Path
from tests.projects import Project

home, mounted = Path(sys.argv[1]), Path(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"none", b"/", None, 0x44000, None) or libc.mount(
    b"tmpfs", os.fsencode(mounted), b"tmpfs", 0, b"size=2m"
):
    sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")
project = Project(home)
project.here = True
row = "client{},{},100,5,0".format
project.dataset("a.csv", [row(i, i % 7) for i in range(500)])
assert project.run("ingestion.py").returncode == 0
project.dataset("b.csv", [row(i, i % 7) for i in range(900, 1400)])
runs, final = [], mounted / "finaldata.csv"
for pages in range(200):
    ballast = mounted / "ballast"
    with ballast.open("wb", 0) as stream:
        try:
            while True:
                stream.write(bytes(4096))
        except OSError:
            stream.truncate(max(0, stream.tell() // 4096 * 4096 - 4096 * pages))
    try:
        done = project.run("ingestion.py")
        status, said = done.returncode, done.stderr
    except Exception:
        status, said = 1, traceback.format_exc()
    ballast.unlink()
    drafts = (path for pattern in (".draft*", ".work*", ".*.tmp") for path in home.rglob(pattern))
    rows = final.read_text().splitlines()[1:]
    runs.append({"status": status, "said": said, "rows": len(rows), "left": [*map(str, drafts)]})
    if status == 0:
        break
print(json.dumps(runs))
"""


def alone(mounts: str) -> list[str]:
    """The start of a command in a mount namespace of its own."""
    unshare = program("unshare", "util-linux")
    command = [unshare, mounts] if os.geteuid() == 0 else [unshare, mounts, "--map-root-user"]
    tried = subprocess.run([*command, "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"this machine lets nobody mount: {tried.stderr.strip()}")
    return command


def test_a_full_disk_in_each_write_leaves_the_old_state_and_the_next_run_heals(project: Project) -> None:
    (project.home / "ingesteddata").mkdir()
    script = [sys.executable, "-c", FILLING, str(project.home), str(project.home / "ingesteddata")]
    done = subprocess.run(
        [*alone("--mount"), *script], cwd=CHECKOUT, capture_output=True, text=True, timeout=120
    )
    if done.stderr.startswith("mount: "):
        pytest.skip(f"this machine lets nobody mount: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    *failed, healed = json.loads(done.stdout)
    assert len(failed) > 5
    assert {(run["status"], run["rows"]) for run in failed} == {(1, 500)}
    assert [run["left"] for run in failed if run["left"]] == []
    assert (healed["status"], healed["rows"], healed["said"], healed["left"]) == (0, 1000, "", [])
    for run in failed:
        assert "No space left on device" in run["said"] and "Free some space" in run["said"]
        assert "Traceback" not in run["said"], run["said"]


@pytest.mark.parametrize("size", [500, 300_000])
def test_a_file_size_limit_in_a_write_leaves_the_old_state_and_the_next_run_heals(
    project: Project, size: int
) -> None:
    prlimit = program("prlimit", "util-linux")
    project.dataset("a.csv", [A])
    assert project.run("ingestion.py").returncode == 0
    before = project.read("ingesteddata/finaldata.csv")
    project.dataset("b.csv", [f"client{i},{i % 9},100,5,0" for i in range(20_000)])
    failed = run_under([prlimit, f"--fsize={size}"], project)
    assert failed.returncode == 1
    assert project.read("ingesteddata/finaldata.csv") == before
    assert left_behind(project) == []
    healed = project.run("ingestion.py")
    # a line of the history that was cut by the limit is told when the next one is written
    told = [line for line in healed.stderr.splitlines() if "left half a line at the end" not in line]
    assert (healed.returncode, told) == (0, [])
    assert len(table(project)) == 20_001
    assert "File too large" in failed.stderr and "Traceback" not in failed.stderr


# --- data that teaches nothing


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a live release, to copy."""
    project = Project(tmp_path_factory.mktemp("taught"))
    project.here = True
    project.dataset("a.csv", classic_rows(200))
    project.dataset("test.csv", classic_rows(90, start=1000), folder="testdata")
    assert project.run("fullprocess.py").returncode == 0
    return project


ONLY_STAYED = [row[:-1] + "0" for row in classic_rows(60, start=5000) if row.endswith("0")]
TEACHES_NOTHING: dict[str, dict[str, list[str]]] = {
    "disjoint columns": {
        "b.csv": ["corporation,lastmonth_activity,exited", "x,1,0"],
        "c.csv": ["lastyear_activity,number_of_employees", "1,2"],
    },
    "0 rows": {"b.csv": [HEADER]},
    "one class only": {"b.csv": [HEADER, *ONLY_STAYED]},
    "all rows duplicates": {"b.csv": [HEADER, *classic_rows(150)]},
    "no outcome known": {"b.csv": [HEADER, *(row[:-1] for row in classic_rows(50, start=5000))]},
}


@pytest.mark.parametrize("datasets", TEACHES_NOTHING.values(), ids=TEACHES_NOTHING.keys())
def test_data_that_teaches_nothing_makes_no_new_model_and_the_reason_is_told(
    taught: Project, tmp_path: Path, datasets: dict[str, list[str]]
) -> None:
    shutil.copytree(taught.home, tmp_path, symlinks=True, dirs_exist_ok=True)
    project = Project(tmp_path)
    project.here = True
    release = (project.home / "production_deployment/current").readlink()
    for name, lines in datasets.items():
        project.dataset(name, lines[1:], header=lines[0])
    answer = project.json("fullprocess.py")
    assert (answer["status"], answer["retrained"], answer["promoted"]) == ("done", False, False)
    assert (project.home / "production_deployment/current").readlink() == release
    assert "the model stays" in answer["reason"]
    assert [line["sentence"] for line in project.history("fullprocess")][-1] == answer["sentence"]
    if len(datasets) > 1:
        assert set(datasets) <= set(entries(project))
        for name in datasets:
            assert name in project.read("models/report.html")
    assert project.run("fullprocess.py").stdout == ""


FIRST: dict[str, tuple[dict[str, list[str]], str]] = {
    "disjoint columns": (TEACHES_NOTHING["disjoint columns"], "only 0 rows have a known outcome"),
    "0 rows": (TEACHES_NOTHING["0 rows"], "only 0 rows have a known outcome"),
    "one class only": (TEACHES_NOTHING["one class only"], "rows with a known outcome stayed"),
    "all rows duplicates": ({"b.csv": [HEADER, *[A, B] * 50]}, "only 2 rows have a known outcome"),
}


@pytest.mark.parametrize(("datasets", "said"), FIRST.values(), ids=FIRST.keys())
def test_data_that_teaches_nothing_makes_no_first_model_and_the_reason_is_told(
    project: Project, datasets: dict[str, list[str]], said: str
) -> None:
    project.here = True
    project.dataset("test.csv", classic_rows(30), folder="testdata")
    for name, lines in datasets.items():
        project.dataset(name, lines[1:], header=lines[0])
    answer = project.json("fullprocess.py")
    assert (answer["status"], answer["release"]) == ("refused", None)
    assert said in answer["reason"]
    quiet = project.run("fullprocess.py", "-q")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
