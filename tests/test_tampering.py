"""Who can write a release cannot have it served, and no pickle of his runs: attacks, and what they get."""

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from flask.testing import FlaskClient

import app as face
import deployment
import ingestion
import scoring
import training
from attrition import candidates, files, generations, publisher, releases, seals, signing, unpickling
from attrition.config import Config
from attrition.errors import ConfigError, DataError, KeyFault, ReleaseError, UsageError
from attrition.publisher import Edition
from attrition.settings import Clients
from tests import servers
from tests.projects import CHECKOUT, Project, classic_rows

ROW = {"corporation": "a", "lastmonth_activity": 10, "lastyear_activity": 100, "number_of_employees": 5}
RELEASED = (
    "ingestedfiles.txt",
    "latestscore.txt",
    "model.json",
    "modelcard.md",
    "reference.json",
    "scorecard.json",
    "scores.json",
    "trainedmodel.pkl",
)


@pytest.fixture(scope="module")
def two_releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose stages ran twice: two releases of two models."""
    project = Project(tmp_path_factory.mktemp("two"))
    project.dataset("test.csv", classic_rows(60, start=1000), folder="testdata")
    for name, start in (("a.csv", 0), ("b.csv", 5000)):
        project.dataset(name, classic_rows(120, start))
        run_stages(project.config())
    servers.finished(project.config())
    project.write("models/diagnostics.json", "{}")
    return project.home


@pytest.fixture
def attacked(two_releases: Path, tmp_path: Path) -> Project:
    """A copy of it, free to be attacked."""
    shutil.copytree(two_releases, tmp_path, symlinks=True, dirs_exist_ok=True)
    project = Project(tmp_path)
    project.here = True
    return project


@pytest.fixture
def payload(tmp_path: Path) -> bytes:
    return command_pickle(f"touch {marker(tmp_path)}")


def run_stages(config: Config) -> None:
    for stage in (ingestion, training, scoring, deployment):
        stage.run(config)


def marker(home: Path) -> Path:
    """The file that exists once a payload has run."""
    return home / "payload-ran"


def command_pickle(command: str) -> bytes:
    return b"cposix\nsystem\n(S'%s'\ntR." % command.encode()


def both(project: Project) -> tuple[Edition, Edition]:
    first, second = publisher.editions(releases.shelf(project.config()))
    return first, second


def client_of(project: Project) -> FlaskClient:
    return face.create_app(project.config()).test_client()


def prediction(client: FlaskClient) -> Any:
    return client.post("/prediction", json={"instances": [ROW]})


def flip(path: Path, bit: int | None = None) -> None:
    data = bytearray(path.read_bytes())
    at = len(data) * 4 if bit is None else bit
    data[at // 8] ^= 1 << at % 8
    path.write_bytes(data)


def forged(project: Project, victim: Edition, number: int, seal: Callable[[dict[str, Any]], Any]) -> str:
    """Give a changed release right sizes, hashes, number and name, and the `seal`; make it live. Its id."""
    manifest = {name: value for name, value in victim.manifest.items() if name != "seal"}
    inventory = {
        path.name: {"size": path.stat().st_size, "sha256": files.sha256(path)}
        for path in sorted(victim.folder.iterdir())
        if path.name != "manifest.json"
    }
    name = publisher._named_after(number, inventory)
    manifest |= {"id": name, "sequence": number, "files": inventory}
    files.write_json(victim.folder / "manifest.json", seal(manifest))
    victim.folder.rename(victim.folder.with_name(name))
    files.point_link(project.config().current, f"releases/{name}")
    return name


# ---------------------------------------------------------------------------------- what the server does


def swap(first: Path, second: Path) -> None:
    aside = first.with_name("aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)


def under_another_number(first: Edition, second: Edition) -> None:
    """The old release whole, under the name of the new one."""
    shutil.rmtree(second.folder)
    shutil.copytree(first.folder, second.folder)


def renumbered(first: Edition, second: Edition) -> None:
    """The same, and its manifest says what the folder is called."""
    under_another_number(first, second)
    manifest = {**first.manifest, "id": second.id, "sequence": second.sequence}
    files.write_json(second.folder / "manifest.json", manifest)


def without_seal(first: Edition, second: Edition) -> None:
    bare = {name: value for name, value in second.manifest.items() if name != "seal"}
    files.write_json(second.folder / "manifest.json", bare)


def in_place(second: Path, put: Callable[[Path], Any]) -> None:
    second.unlink()
    put(second)


def file_for_a_folder(first: Edition, second: Edition) -> None:
    shutil.rmtree(second.folder)
    second.folder.write_text("x")


Attack = Callable[[Edition, Edition], Any]


def a_bit_of(name: str) -> Attack:
    return lambda first, second: flip(second.folder / name)


def swapped(name: str) -> Attack:
    return lambda first, second: swap(first.folder / name, second.folder / name)


ATTACKS: dict[str, Attack] = {
    **{f"a bit of {name}": a_bit_of(name) for name in (*RELEASED, "manifest.json")},
    **{
        f"{name} swapped": swapped(name)
        for name in ("manifest.json", "model.json", "scorecard.json", "scores.json", "trainedmodel.pkl")
    },
    "an old manifest with a new model": lambda first, second: shutil.copy(
        first.folder / "manifest.json", second.folder
    ),
    "an old release under a new number": under_another_number,
    "an old release renumbered": renumbered,
    "releases swapped": lambda first, second: swap(first.folder, second.folder),
    "no seal": without_seal,
    "a null seal": lambda first, second: files.write_json(
        second.folder / "manifest.json", {**second.manifest, "seal": None}
    ),
    "another reason": lambda first, second: files.write_json(
        second.folder / "manifest.json", {**second.manifest, "reason": "because"}
    ),
    "half a manifest": lambda first, second: os.truncate(second.folder / "manifest.json", 200),
    "half a model": lambda first, second: os.truncate(second.folder / "trainedmodel.pkl", 200),
    "an empty scorecard": lambda first, second: os.truncate(second.folder / "scorecard.json", 0),
    "no manifest": lambda first, second: (second.folder / "manifest.json").unlink(),
    "no model": lambda first, second: (second.folder / "trainedmodel.pkl").unlink(),
    "one file too many": lambda first, second: (second.folder / "more.txt").write_text(""),
    "a folder too many": lambda first, second: (second.folder / "more").mkdir(),
    "a link in place of the scorecard": lambda first, second: in_place(
        second.folder / "scorecard.json", lambda place: place.symlink_to(first.folder / "scorecard.json")
    ),
    "a link in place of the manifest": lambda first, second: in_place(
        second.folder / "manifest.json", lambda place: place.symlink_to(first.folder / "manifest.json")
    ),
    "a pipe in place of the manifest": lambda first, second: in_place(
        second.folder / "manifest.json", os.mkfifo
    ),
    "a pipe in place of the scorecard": lambda first, second: in_place(
        second.folder / "scorecard.json", os.mkfifo
    ),
    "a folder in place of the manifest": lambda first, second: in_place(
        second.folder / "manifest.json", Path.mkdir
    ),
    "a manifest nested without end": lambda first, second: (second.folder / "manifest.json").write_text(
        "[" * 100_000
    ),
    "a manifest without end": lambda first, second: os.truncate(second.folder / "manifest.json", 1 << 40),
    "a manifest of half a character": lambda first, second: (second.folder / "manifest.json").write_text(
        json.dumps({**second.manifest, "reason": "\ud800", "seal": "\ud800"})
    ),
    "a file in place of the release": file_for_a_folder,
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_server_goes_on_with_the_release_before(attacked: Project, attack: str) -> None:
    """Just started, it knows the release before by its link alone; and the new one is never served."""
    first, second = both(attacked)
    ATTACKS[attack](first, second)
    whole = attack not in {"releases swapped"} and not attack.endswith("swapped")
    client = client_of(attacked)
    answer = prediction(client)
    if whole:
        assert (answer.status_code, answer.get_json()["release"]) == (200, first.id)
    else:
        # the release before was attacked as well
        assert answer.status_code == 503
    told = client.get("/diagnostics")
    assert second.id in told.text and "python deployment.py --rollback" in told.text
    assert client.get("/readyz").status_code == 503
    with pytest.raises(ReleaseError):
        live = releases.require_live(attacked.config())
        publisher.verify(live.shelf, live.edition)


def test_a_server_that_runs_keeps_the_release_it_verified(attacked: Project) -> None:
    first, _ = both(attacked)
    client = client_of(attacked)
    before = prediction(client).get_json()["release"]
    third = servers.publish(attacked.config(), 0.9)
    flip(third.folder / "scorecard.json")
    assert prediction(client).get_json()["release"] == before != first.id
    assert f"{before} goes on being served" in client.get("/diagnostics").text


def test_without_any_sound_release_the_answer_is_503(attacked: Project) -> None:
    for edition in both(attacked):
        flip(edition.folder / "trainedmodel.pkl")
    client = client_of(attacked)
    assert prediction(client).status_code == 503
    assert "is damaged" in client.get("/diagnostics").text


def test_a_bit_of_every_byte_of_a_manifest_counts(attacked: Project) -> None:
    _, second = both(attacked)
    place, shelf = second.folder / "manifest.json", releases.shelf(attacked.config())
    whole = place.read_bytes()
    misread = []
    for bit in (8 * at + at % 8 for at in range(len(whole))):
        flip(place, bit)
        try:
            read = publisher.read(shelf, second.id)
        except ReleaseError:
            pass
        else:
            # a number may be spelt another way, 1e-05 as 1E-05: then it says the same
            misread += [bit] if read.manifest != second.manifest else []
        place.write_bytes(whole)
    assert misread == []


# ----------------------------------------------------------------------------------- a pickle that is evil


def other_key(manifest: dict[str, Any]) -> dict[str, Any]:
    return seals.sealed("releases", manifest, b"k" * 32)


@pytest.mark.parametrize(
    "seal", [dict, other_key, lambda manifest: manifest | {"seal": "0" * 64}], ids=["none", "another", "zero"]
)
@pytest.mark.parametrize("number", [2, 3])
def test_an_evil_pickle_with_the_right_hash_is_never_unpickled(
    attacked: Project, payload: bytes, seal: Any, number: int
) -> None:
    first, second = both(attacked)
    (second.folder / "trainedmodel.pkl").write_bytes(payload)
    name = forged(attacked, second, number, seal)
    client = client_of(attacked)
    assert prediction(client).get_json()["release"] == first.id
    assert name in client.get("/diagnostics").text
    answer = attacked.run("training.py", "--reproduce", name)
    assert (answer.returncode, "not signed with signing.key" in answer.stderr) == (6, True)
    assert not marker(attacked.home).exists()


def test_a_seal_of_another_kind_is_none(attacked: Project) -> None:
    """A generation signed by this very pipeline is no release."""
    config = attacked.config()
    generation = generations.require_current(config)
    place = releases.shelf(config).folder / generation.id
    shutil.copytree(generation.folder, place)
    with pytest.raises(ReleaseError, match="not signed with signing.key"):
        releases.by_id(config, generation.id)


def test_even_a_signed_pickle_runs_nothing(attacked: Project, payload: bytes) -> None:
    """Somebody has the key: then the list of names is what still stands."""
    _, second = both(attacked)
    key = seals.required(attacked.config().signing_key)
    (second.folder / "trainedmodel.pkl").write_bytes(payload)
    name = forged(attacked, second, 2, lambda manifest: seals.sealed("releases", manifest, key))
    answer = attacked.run("training.py", "--reproduce", name)
    assert answer.returncode == DataError.status
    assert "it asks for posix.system, which no model needs" in answer.stderr
    assert not marker(attacked.home).exists()


@pytest.mark.parametrize("script", ["scoring.py", "deployment.py"])
def test_a_new_model_that_training_did_not_sign_is_never_unpickled(
    attacked: Project, payload: bytes, script: str
) -> None:
    config = attacked.config()
    config.trained_model.write_bytes(payload)
    facts = files.read_json(config.model_description)
    facts["sha256"]["trainedmodel.pkl"] = files.sha256(config.trained_model)
    scores = files.read_json(config.scores) | {"model_sha256": facts["sha256"]["trainedmodel.pkl"]}
    files.write_json(config.scores, scores)
    files.write_json(config.model_description, facts)
    answer = attacked.run(script, "--force")
    assert answer.returncode == DataError.status
    assert "this is not signed with signing.key, so not what training wrote" in answer.stderr
    signing.write_description(config, facts)
    answer = attacked.run(script, "--force")
    assert answer.returncode == DataError.status
    assert "it asks for posix.system, which no model needs" in answer.stderr
    assert not marker(attacked.home).exists()


EVIL: dict[str, bytes] = {
    "os.system": b"cos\nsystem\n(S'%s'\ntR.",
    "eval": b'cbuiltins\neval\n(S\'__import__("os").system("%s")\'\ntR.',
    "exec": b'c__builtin__\nexec\n(S\'__import__("os").system("%s")\'\ntR.',
    "getattr": b"cbuiltins\ngetattr\n(cattrition.candidates\nModel\nS'__init__'\ntR(S'%s'\ntR.",
    "import": b"cimportlib\nimport_module\n(S'os'\ntR0S'%s'\n.",
    "a pager": b"cpydoc\npipepager\n(S'x'\nS'%s'\ntR.",
    "subprocess": b"csubprocess\ncall\n(S'%s'\ntR.",
    "operator": b"coperator\nattrgetter\n(S'system'\ntR(S'%s'\ntR.",
    "a partial": b"cfunctools\npartial\n(cos\nsystem\nS'%s'\ntR(tR.",
    "a reduce": b"cfunctools\nreduce\n(cos\nsystem\nS'%s'\ntR.",
    # STACK_GLOBAL with a dotted name, from a module that is listed
    "a dotted name": b"\x80\x04\x8c\x14attrition.candidates\x8c\x12platform.os.system\x93(S'%s'\ntR.",
    "a dotted module": b"\x80\x04\x8c\x05numpy\x8c\x09os.system\x93(S'%s'\ntR.",
    "a loader": b"cnumpy\nload\n(S'%s'\nI01\nI01\ntR.",
    "joblib": b"cjoblib\nload\n(S'%s'\ntR.",
    "an instance": b"(S'%s'\nios\nsystem\n.",
}


@pytest.mark.parametrize("evil", EVIL)
def test_what_no_model_needs_is_refused_before_it_is_imported(tmp_path: Path, evil: str) -> None:
    pickled = EVIL[evil] % f"touch {marker(tmp_path)}".encode()
    with pytest.raises(DataError, match=r"it asks for .*, which no model needs.*training\.py"):
        unpickling.loads(pickled, tmp_path / "trainedmodel.pkl")
    assert not marker(tmp_path).exists()


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"\x80",
        b".",
        b"x",
        b"\x80\x04K\x01",
        b"\x82\x01.",
        b"P1\n.",
        b"\x80\x63.",
        b"I1\n.",
        b"cattrition.candidates\nModel\n.",
    ],
)
def test_what_is_no_pickle_is_a_sentence(tmp_path: Path, junk: bytes) -> None:
    with pytest.raises(DataError, match=r"this is no pickled model .*Run: python training.py"):
        unpickling.loads(junk, tmp_path / "trainedmodel.pkl")


# ----------------------------------------------------------------------------- the list of what models need


class Recording(pickle.Unpickler):
    """Notes what a pickle asks for."""

    def __init__(self, pickled: bytes) -> None:
        super().__init__(io.BytesIO(pickled))
        self.seen: set[tuple[str, str]] = set()

    def find_class(self, module: str, name: str) -> Any:
        self.seen.add((module, name))
        return super().find_class(module, name)


CLIENTS = Clients(
    id="client", target="left", numeric=("a", "b", "same", "never"), categorical=("kind", "one")
)


def strange_table(rows: int) -> pd.DataFrame:
    """Gaps, a column of one value, one never filled, categories seldom and blank."""
    random = np.random.default_rng(3)
    table = pd.DataFrame(
        {
            "a": random.normal(size=rows),
            "b": np.round(random.exponential(100, rows)),
            "same": 1.0,
            "never": np.nan,
            "kind": random.choice(["x", "y", "", "\u0628"], rows, p=[0.6, 0.3, 0.09, 0.01]),
            "one": "only",
        }
    )
    table.loc[::7, "a"] = np.nan
    return table


def asked_for(name: str) -> set[tuple[str, str]]:
    table = strange_table(400)
    noise = np.random.default_rng(4).normal(size=len(table))
    outcome = (table["a"].fillna(0) + noise > 0).to_numpy().astype(float)
    model = candidates.fitted({name: 1.0}, CLIENTS, table, outcome, np.arange(len(table)), 0, name)
    recording = Recording(pickle.dumps(model))
    recording.load()
    return recording.seen


def test_the_list_is_what_the_candidates_need_and_no_more() -> None:
    needed = {pair: name for name in candidates.CANDIDATES for pair in asked_for(name)}
    missing = sorted(needed.keys() - unpickling.ALLOWED)
    assert not missing, "add to ALLOWED in attrition/unpickling.py, if it can do no harm: " + "; ".join(
        f"{pair} for {needed[pair]}" for pair in missing
    )
    idle = sorted(unpickling.ALLOWED - needed.keys())
    assert not idle, f"no candidate needs this: take it out of ALLOWED in attrition/unpickling.py: {idle}"


def test_nothing_listed_imports_evaluates_opens_or_starts_anything() -> None:
    harmless = ("attrition.", "numpy", "sklearn.", "interpret.")
    assert {pair for pair in unpickling.ALLOWED if not pair[0].startswith(harmless)} == {
        ("builtins", "slice"),
        ("functools", "partial"),
    }
    assert not [pair for pair in unpickling.ALLOWED if "." in pair[1]]


def test_a_candidate_that_needs_more_is_refused_when_it_is_trained(
    attacked: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    less = unpickling.ALLOWED - {("sklearn.linear_model._logistic", "LogisticRegression")}
    monkeypatch.setattr(unpickling, "ALLOWED", less)
    before = attacked.read("models/model.json")
    with pytest.raises(DataError, match=r"_logistic.LogisticRegression.*ALLOWED in attrition/unpickling.py"):
        training.run(attacked.config())
    assert attacked.read("models/model.json") == before


# ------------------------------------------------------------------------------------------------ the key


def test_the_key_is_made_at_first_use_for_its_owner_alone(project: Project) -> None:
    before = os.umask(0)
    try:
        signing.ready(project.config())
    finally:
        os.umask(before)
    place = project.home / "models/signing.key"
    assert place.stat().st_mode & 0o777 == 0o600
    key = place.read_bytes()
    signing.ready(project.config())
    assert place.read_bytes() == key and len(bytes.fromhex(key.decode())) == 32
    assert [path.name for path in place.parent.iterdir()] == ["signing.key"]


def test_readers_and_dry_runs_make_no_key(project: Project) -> None:
    project.dataset("a.csv", classic_rows(30))
    assert project.run("ingestion.py", "--dry-run").returncode == 0
    assert project.run("deployment.py", "--list").returncode == 0
    assert client_of(project).get("/readyz").status_code == 503
    assert not list(project.home.rglob("signing.key*"))
    with pytest.raises(UsageError, match="--dry-run"):
        signing.renew(project.config(dry_run=True))


def test_practice_has_a_key_of_its_own(project: Project) -> None:
    project.configure(deployment={"key_file": "../a.key"})
    (project.home / "practicedata/a.csv").write_text("\n".join(["x"]))
    signing.ready(project.config(practice=True))
    assert (project.home / "practicemodels/signing.key").exists()
    assert not project.config().signing_key.exists()


def test_two_scripts_that_start_at_once_make_one_key(project: Project) -> None:
    project.dataset("a.csv", classic_rows(60))
    project.dataset("test.csv", classic_rows(60, start=1000), folder="testdata")
    command = [sys.executable, str(CHECKOUT / "ingestion.py"), "--config", str(project.home / "config.json")]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(3)]
    for process in started:
        process.communicate(timeout=120)
    assert {process.returncode for process in started} <= {0, 5}
    generation = generations.require_current(project.config())
    assert len(generation.manifest["seal"]) == 64


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_key_that_others_can_write_is_refused_by_all(attacked: Project, mode: int) -> None:
    config = attacked.config()
    config.signing_key.chmod(mode)
    for refused in (ingestion.run, training.run, scoring.run, deployment.run, releases.live):
        with pytest.raises(KeyFault, match=r"can be written by others.*chmod 600"):
            refused(config)
    client = client_of(attacked)
    assert prediction(client).status_code == 503
    assert "out of reach, or not private" in client.get("/diagnostics").text
    assert str(attacked.home) not in client.get("/diagnostics").text


def test_a_key_that_everybody_can_read_is_told_and_used(
    attacked: Project, caplog: pytest.LogCaptureFixture
) -> None:
    attacked.config().signing_key.chmod(0o644)
    signing.ready(attacked.config())
    assert "everybody on this machine can read the key" in caplog.text
    caplog.clear()
    attacked.config().signing_key.chmod(0o640)
    signing.ready(attacked.config())
    assert caplog.text == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_server_that_may_not_read_the_key_says_so(attacked: Project) -> None:
    for place in attacked.home.rglob("*"):
        if not place.is_symlink():
            place.chmod(0o755 if place.is_dir() else 0o644)
    attacked.config().signing_key.chmod(0o600)
    asked = (
        "import os, sys; from attrition import config, releases\n"
        "from pathlib import Path; from attrition.errors import KeyFault\n"
        "config = config.load(Path(sys.argv[1]))\n"
        "assert releases.live(config)\n"
        "os.setuid(65534)\n"
        "try: releases.live(config)\n"
        "except KeyFault as fault: print(fault)\n"
    )
    # pytest keeps its temporary folders to itself
    for place in (attacked.home, *attacked.home.parents):
        if not place.stat().st_mode & 0o001:
            place.chmod(place.stat().st_mode | 0o011)
    done = subprocess.run(
        [sys.executable, "-c", asked, str(attacked.home / "config.json")],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    assert "cannot be read (Permission denied)" in done.stdout, done.stderr


@pytest.mark.parametrize("content", [b"", b"\n", b"00" * 31, b"zz" * 32, b"\xff" * 64])
def test_what_is_no_key_is_refused(project: Project, content: bytes) -> None:
    place = project.write("models/signing.key", content)
    place.chmod(0o600)
    with pytest.raises(KeyFault, match=r"this is no key .*deployment.py --new-key"):
        seals.key(place)
    place.unlink()
    os.mkfifo(place, 0o600)
    with pytest.raises(KeyFault, match="this is no key"):
        seals.key(place)


@pytest.mark.parametrize("folder", ["production_deployment", "ingesteddata", "sourcedata", "testdata"])
def test_a_key_among_what_it_signs_is_refused(project: Project, folder: str) -> None:
    project.configure(deployment={"key_file": f"{folder}/deep/signing.key"})
    with pytest.raises(ConfigError, match="who can replace a file there could sign"):
        project.config()


def test_a_key_may_lie_elsewhere(project: Project) -> None:
    project.configure(deployment={"key_file": "secrets/own.key"})
    servers.publish(project.config(), 0.4)
    assert (project.home / "secrets/own.key").stat().st_mode & 0o777 == 0o600
    assert not (project.home / "models/signing.key").exists()
    assert releases.require_live(project.config()).facts["seal"]


def test_neither_an_idle_tick_nor_a_server_at_rest_reads_the_key(attacked: Project) -> None:
    attacked.run("fullprocess.py")
    client = client_of(attacked)
    release = prediction(client).get_json()["release"]
    key = attacked.config().signing_key
    key.chmod(0o666)
    idle = attacked.run("fullprocess.py")
    assert (idle.returncode, idle.stdout, idle.stderr) == (0, "", "")
    assert prediction(client).get_json()["release"] == release


# ------------------------------------------------------------------------------- the first, a lost, a new key


def as_before_there_were_keys(project: Project) -> None:
    config = project.config()
    for place in [*project.home.rglob("manifest.json"), config.model_description]:
        facts = files.read_json(place)
        del facts["seal"]
        files.write_json(place, facts)
    config.signing_key.unlink()


def seals_of(project: Project) -> list[bool]:
    """Whether each signed file bears a seal that fits the key."""
    config, key = project.config(), seals.key(project.config().signing_key)
    shelves = (releases.shelf(config), generations.shelf(config))
    manifests = [
        (shelf.kind, shelf.folder / name / "manifest.json")
        for shelf in shelves
        for name in publisher.names(shelf)
    ]
    return [
        seals.fits(kind, files.read_json(place), key)
        for kind, place in (*manifests, ("model", config.model_description))
    ]


def test_what_was_published_before_there_were_keys_is_signed_once(attacked: Project) -> None:
    as_before_there_were_keys(attacked)
    before = both(attacked)
    # until the first run all goes on as it did
    assert prediction(client_of(attacked)).get_json()["release"] == before[1].id
    assert attacked.run("scoring.py", "--dry-run").returncode == 0
    flip(before[0].folder / "scores.json")
    ingested = attacked.json("ingestion.py")
    assert ingested["status"] == "nothing to do"
    assert seals_of(attacked) == [False, True, True, True, True]
    assert prediction(client_of(attacked)).get_json()["release"] == before[1].id
    assert attacked.json("deployment.py")["action"] == "kept"
    without_seal(*both_named(attacked, before))
    with pytest.raises(ReleaseError, match="not signed with signing.key"):
        releases.live(attacked.config())


def both_named(project: Project, editions: tuple[Edition, Edition]) -> tuple[Edition, Edition]:
    return editions[0], publisher.read(releases.shelf(project.config()), editions[1].id)


def test_the_first_tick_after_an_upgrade_is_not_idle(attacked: Project) -> None:
    """A stamp of the older version asks for a whole tick, which signs."""
    attacked.run("fullprocess.py")
    as_before_there_were_keys(attacked)
    stamp = attacked.config().stamp
    stamp.write_bytes(stamp.read_bytes().replace(b"attrition stamp 2", b"attrition stamp 1"))
    assert attacked.run("fullprocess.py").returncode == 0
    assert all(seals_of(attacked))


@pytest.mark.parametrize("first_use", [True, False], ids=["first key", "new key"])
@pytest.mark.parametrize("step", range(7))
def test_a_change_of_keys_that_was_killed_is_taken_up(
    attacked: Project, monkeypatch: pytest.MonkeyPatch, step: int, first_use: bool
) -> None:
    if first_use:
        as_before_there_were_keys(attacked)
    config = attacked.config()
    old = seals.key(config.signing_key)
    written = killed_at(monkeypatch, step)
    with pytest.raises(KeyboardInterrupt):
        (signing.ready if first_use else signing.renew)(config)
    monkeypatch.undo()
    assert len(written) == step
    assert seals.key(config.signing_key) == old
    signing.ready(config)
    assert all(seals_of(attacked))
    assert (seals.key(config.signing_key) == old) == (step == 0 and not first_use)
    assert [path.name for path in attacked.home.rglob("*.new")] == []
    run_stages(config)
    live = releases.require_live(config)
    publisher.verify(live.shelf, live.edition)


def killed_at(monkeypatch: pytest.MonkeyPatch, step: int) -> list[Path]:
    """Let the process die before its next write after `step` of them; the list grows with each.

    There are six: the key, four manifests, model.json. After them the key is put in its place.
    """
    written: list[Path] = []
    write, rename = files.write_bytes, Path.rename

    def until_then(path: Path, data: bytes, mode: int = 0o666) -> None:
        if len(written) == step:
            raise KeyboardInterrupt
        written.append(path)
        write(path, data, mode)

    def never_in_place(path: Path, target: Path) -> Path:
        if path.name == "signing.key.new":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(files, "write_bytes", until_then)
    monkeypatch.setattr(Path, "rename", never_in_place)
    return written


def test_a_lost_key_is_replaced_by_nobody_but_a_person(attacked: Project) -> None:
    config, (_, second) = attacked.config(), both(attacked)
    config.signing_key.unlink()
    before = attacked.snapshot()
    for script in ("ingestion.py", "training.py", "deployment.py", "fullprocess.py"):
        answer = attacked.run(script)
        assert answer.returncode == KeyFault.status
        assert "the key that signs releases is gone" in answer.stderr
        assert "deployment.py --new-key" in answer.stderr
    logs = ("models/history.jsonl", "models/log.txt", "models/pipeline.lock")
    after = attacked.snapshot()
    assert {k: v for k, v in after.items() if k not in logs} == {
        k: v for k, v in before.items() if k not in logs
    }
    assert prediction(client_of(attacked)).status_code == 503
    done = attacked.json("deployment.py", "--new-key")
    assert (done["signed"], done["unsound"]) == (4, [])
    assert prediction(client_of(attacked)).get_json()["release"] == second.id
    assert attacked.run("fullprocess.py").returncode == 0


def test_a_new_key_signs_what_the_old_one_did_and_nothing_else(attacked: Project) -> None:
    first, _ = both(attacked)
    without_seal(first, first)
    old = attacked.read("models/signing.key")
    done = attacked.json("deployment.py", "--new-key")
    assert (done["signed"], done["unsound"]) == (3, [first.id])
    assert attacked.read("models/signing.key") != old
    assert seals_of(attacked) == [False, True, True, True, True]
    assert attacked.json("deployment.py")["action"] == "kept"


def test_a_folder_that_is_no_edition_stops_nobody(attacked: Project) -> None:
    """Links and files with an edition's name are passed over, in lists and when old ones are forgotten."""
    config = attacked.config()
    folder = releases.shelf(config).folder
    (folder / "000007-00000000").symlink_to("nowhere")
    (folder / "000008-00000000").symlink_to(attacked.home)
    (folder / "000009-00000000").write_text("x")
    os.utime(folder / both(attacked)[0].id, (1, time.time()))
    assert len(publisher.editions(releases.shelf(config))) == 2
    assert deployment.run(attacked.config(force=True)).release.startswith("000003-")
