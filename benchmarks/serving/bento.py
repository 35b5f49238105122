"""The pickled pipeline as a service of BentoML; runs in the environment of bentoml.txt."""

import os
import pickle
from pathlib import Path
from typing import Any

import bentoml
import pandas as pd


@bentoml.service(workers=int(os.environ["WEB_CONCURRENCY"]))
class Model:
    """Probability of leaving for each row."""

    def __init__(self) -> None:
        self.model: Any = pickle.loads(Path(os.environ["BENCHMARK_MODEL"]).read_bytes())

    @bentoml.api
    def predict(self, instances: list[dict[str, Any]]) -> dict[str, list[float]]:
        return {"predictions": self.model.predict_proba(pd.DataFrame(instances))[:, 1].tolist()}
