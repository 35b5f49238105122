"""Lay the pickled pipeline down as a model of MLflow; runs in the environment of mlflow.txt.

Usage: python log_model.py PICKLE FOLDER
"""

import pickle
import sys
from pathlib import Path
from typing import Any

import mlflow


class Probabilities(mlflow.pyfunc.PythonModel):
    """Probability of leaving for each row of a DataFrame."""

    def load_context(self, context: Any) -> None:
        self.model = pickle.loads(Path(context.artifacts["pickle"]).read_bytes())

    # MLflow takes annotations of `predict` for a schema of the rows
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        return self.model.predict_proba(model_input)[:, 1].tolist()


if __name__ == "__main__":
    pickled, folder = sys.argv[1:]
    mlflow.pyfunc.save_model(folder, python_model=Probabilities(), artifacts={"pickle": pickled})
