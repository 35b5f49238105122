import json
from pathlib import Path
from typing import Any

import pytest

from attrition import config
from attrition.errors import ConfigError
from tests.projects import CHECKOUT, FOLDERS, Project


def faults(project: Project, text: str | None = None, **sections: Any) -> str:
    if text is None:
        project.configure(**sections)
    else:
        project.write("config.json", text)
    with pytest.raises(ConfigError) as refused:
        project.config()
    return str(refused.value)


def test_the_five_path_keys_are_enough(project: Project) -> None:
    project.write("config.json", json.dumps(FOLDERS))
    loaded = project.config()
    assert loaded.final_data == project.home / "ingesteddata" / "finaldata.csv"
    assert loaded.clients.id == "corporation"
    assert loaded.settings.training.folds == 5


def test_relative_paths_are_relative_to_the_config_file(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    assert project.config().input_folder == project.home / "sourcedata"


def test_practice_names_none_of_productions_folders(project: Project) -> None:
    production, practice = project.config(), project.config(practice=True)
    written = {p.model_folder for p in (production, practice)} | {
        p.ingested_folder for p in (production, practice)
    }
    written |= {p.deployment_folder for p in (production, practice)} | {production.stamp, practice.stamp}
    assert len(written) == 8
    assert practice.input_folder == project.home / "practicedata"
    assert practice.deployment_folder.is_relative_to(practice.model_folder)


def test_all_faults_are_told_at_once_each_with_its_key(project: Project) -> None:
    told = faults(
        project,
        input_folder_path=7,
        training={"folds": 1, "sed": 0},
        clients={"numeric": ["exited"], "rules": ["a <= number_of_employees"], "derived": {"x": "import os"}},
        risk={"bands": {"high": 0.2, "medium": 0.3}},
        trainin={},
    )
    for place in ("input_folder_path", "training.folds", "training.sed", "clients", "risk.bands", "trainin"):
        assert f"  {place}: " in told
    assert "did you mean 'seed'" in told
    assert "did you mean 'training'" in told
    assert "'exited' is named twice" in told
    assert "'a', which is no number column" in told
    assert "this is not arithmetic over columns" in told


def test_a_missing_key_is_named(project: Project) -> None:
    told = faults(project, text="{}")
    assert told.count("this key is required") == 5


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "not JSON"),
        ("[]", "must be a JSON object"),
        ('{"a": 1, "a": 2}', "'a' stands twice"),
        ("{'a': 1}", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("\ufeffnull", "must be a JSON object"),
    ],
)
def test_a_broken_file_is_refused_with_its_fault(project: Project, text: str, word: str) -> None:
    assert word in faults(project, text=text)


def test_a_file_that_is_not_text_is_refused(project: Project) -> None:
    project.write("config.json", b"\xff\xfe{\x00}\x00")
    with pytest.raises(ConfigError, match="not JSON"):
        project.config()


def test_a_missing_file_and_a_folder_are_told_apart(project: Project) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        config.load(project.home / "nothing.json", {})
    with pytest.raises(ConfigError, match="this is a folder"):
        config.load(project.home, {})


def test_people_s_folders_and_the_pipeline_s_must_not_overlap(project: Project) -> None:
    assert "the ingested folder" in faults(project, output_folder_path="sourcedata/ingested")
    assert "the practice folder" in faults(project, practice={"output_model_path": "models/practice"})
    assert "three different folders" in faults(project, output_folder_path="models")
    assert "are both" in faults(project, test_data_path="sourcedata")


def test_the_environment_wins_over_the_file(project: Project) -> None:
    project.configure(training={"folds": 4})
    path = project.home / "config.json"
    environ = {
        "ATTRITION_TRAINING_FOLDS": "3",
        "ATTRITION_OUTPUT_MODEL_PATH": "elsewhere",
        "ATTRITION_API_KEYS": "x",
    }
    loaded = config.load(path, environ)
    assert loaded.settings.training.folds == 3
    assert loaded.model_folder == project.home / "elsewhere"
    assert config.overriding(environ) == {"ATTRITION_TRAINING_FOLDS", "ATTRITION_OUTPUT_MODEL_PATH"}


def test_a_wrong_value_in_the_environment_is_refused_like_one_in_the_file(project: Project) -> None:
    with pytest.raises(ConfigError, match="training.folds"):
        config.load(project.home / "config.json", {"ATTRITION_TRAINING_FOLDS": "many"})


def test_without_a_flag_the_environment_names_the_config_file(project: Project) -> None:
    loaded = config.load(None, {"ATTRITION_CONFIG": str(project.home / "config.json")})
    assert loaded.home == project.home
    assert config.load(None, {}).path == CHECKOUT / "config.json"


def test_labels_may_be_written_as_numbers(project: Project) -> None:
    project.configure(clients={"left": 1, "stayed": 0})
    assert project.config().clients.left == "1"


@pytest.mark.parametrize(
    ("parallel", "told"),
    [
        ({"backend": "dask"}, "address must name the scheduler"),
        ({"backend": "dask", "address": "scheduler:8786"}, "tcp://HOST:PORT or tls://HOST:PORT"),
        ({"backend": "dask", "address": "tcp://me:secret@host:8786"}, "tcp://HOST:PORT or tls://HOST:PORT"),
        ({"backend": "spark"}, "parallel.backend"),
        ({"backend": "loky", "workers": 0}, "parallel.workers"),
    ],
)
def test_workers_that_cannot_be_found_are_refused(
    project: Project, parallel: dict[str, Any], told: str
) -> None:
    assert told in faults(project, parallel=parallel)


def test_the_environment_alone_turns_a_cluster_off(project: Project) -> None:
    project.configure(parallel={"backend": "dask", "address": "tls://[::1]:8786", "workers": 8})
    off = config.load(project.home / "config.json", {"ATTRITION_PARALLEL_BACKEND": "serial"})
    assert off.settings.parallel.backend == "serial"


def test_opaque_models_alone_cannot_compete(project: Project) -> None:
    assert "which the others must beat" in faults(project, training={"candidates": ["boosting", "blend"]})


def test_an_unknown_key_of_a_section_that_may_be_null_is_named(project: Project) -> None:
    told = faults(project, database={"query": "SELECT 1", "cursor": "a", "lokback": 1})
    assert "database.lokback: unknown key; did you mean 'lookback'" in told


def test_every_kept_file_has_one_writer_and_one_place(project: Project) -> None:
    loaded = project.config()
    places = [getattr(loaded, name) for name in config.kept_files()]
    assert len(set(places)) == len(places)
    assert all(isinstance(place, Path) and place.is_relative_to(project.home) for place in places)
