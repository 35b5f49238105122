"""What one would write instead of the API: an empty route, and a route that calls the pickled pipeline.

gunicorn serves them as it serves the API: same workers, threads and limits.
"""

import os
import pickle
from pathlib import Path
from typing import Any

from flask import Flask, request


def empty() -> Flask:
    """A route that answers a constant, beside a library that every scorer needs."""
    import numpy  # noqa: F401 - the memory of the API is compared with this

    app = Flask("empty")
    app.add_url_rule("/prediction", view_func=lambda: {"status": "alive"}, methods=["POST"], endpoint="empty")
    app.add_url_rule("/healthz", view_func=lambda: {"status": "alive"}, endpoint="health")
    return app


def plain() -> Flask:
    """The usual few lines: a row to a DataFrame, the pickled pipeline, its probability."""
    import pandas as pd

    model: Any = pickle.loads(Path(os.environ["BENCHMARK_MODEL"]).read_bytes())
    app = Flask("plain")

    def prediction() -> Any:
        rows = pd.DataFrame(request.get_json()["instances"])
        return {"predictions": model.predict_proba(rows)[:, 1].tolist()}

    app.add_url_rule("/prediction", view_func=prediction, methods=["POST"])
    app.add_url_rule("/healthz", view_func=lambda: {"status": "alive"}, endpoint="health")
    return app
