"""Unpickle a trained model, and of all that Python can import only what is listed here.

A pickle is a program: it imports names and calls them. A list of what is evil has holes (Python's
standard library alone has hundreds of ways to start a process); a list of what a model needs has
none that matter, as long as nothing in it opens a file, starts a process, imports, evaluates text
or looks up attributes by name. Callers check the bytes against a signature first; this is the
second wall.
"""

import io
import pickle
from pathlib import Path
from typing import Any

from attrition.errors import DataError

MODEL = ("attrition.candidates", "Model")
ALLOWED = frozenset(
    {
        MODEL,
        ("attrition.candidates", "signed_log"),
        ("attrition.estimators", "Bag"),
        ("attrition.estimators", "Bounds"),
        ("attrition.estimators", "Codes"),
        ("attrition.estimators", "Rate"),
        ("attrition.estimators", "Steps"),
        ("attrition.estimators", "Tents"),
        ("builtins", "slice"),
        # scikit-learn's boosted trees hold partial(check_array, ...); a partial of something listed does
        # no more than that does itself
        ("functools", "partial"),
        ("interpret.glassbox._ebm._ebm", "ExplainableBoostingClassifier"),
        ("numpy", "dtype"),
        ("numpy", "float64"),
        ("numpy", "ndarray"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "scalar"),
        # the generator that boosted trees draw columns by; its two constructors call what they are given,
        # which is something listed too
        ("numpy.random._pcg64", "PCG64"),
        ("numpy.random._pickle", "__bit_generator_ctor"),
        ("numpy.random._pickle", "__generator_ctor"),
        ("numpy.random.bit_generator", "SeedSequence"),
        ("numpy.random.bit_generator", "__pyx_unpickle_SeedSequence"),
        ("sklearn._loss._loss", "CyHalfBinomialLoss"),
        ("sklearn._loss.link", "Interval"),
        ("sklearn._loss.link", "LogitLink"),
        ("sklearn._loss.loss", "HalfBinomialLoss"),
        ("sklearn.compose._column_transformer", "ColumnTransformer"),
        ("sklearn.ensemble._hist_gradient_boosting.binning", "_BinMapper"),
        ("sklearn.ensemble._hist_gradient_boosting.gradient_boosting", "HistGradientBoostingClassifier"),
        ("sklearn.ensemble._hist_gradient_boosting.predictor", "TreePredictor"),
        ("sklearn.impute._base", "MissingIndicator"),
        ("sklearn.impute._base", "SimpleImputer"),
        ("sklearn.linear_model._logistic", "LogisticRegression"),
        ("sklearn.pipeline", "Pipeline"),
        ("sklearn.preprocessing._data", "StandardScaler"),
        ("sklearn.preprocessing._encoders", "OneHotEncoder"),
        ("sklearn.preprocessing._encoders", "OrdinalEncoder"),
        ("sklearn.preprocessing._function_transformer", "FunctionTransformer"),
        ("sklearn.preprocessing._label", "LabelEncoder"),
        ("sklearn.utils.validation", "check_array"),
    }
)

# what unpickling raises on bytes that are no pickle, or a broken one
BROKEN = (pickle.UnpicklingError, EOFError, ImportError, IndexError, ValueError)


def loads(pickled: bytes, place: Path) -> Any:
    """The model in the bytes of the file `place`; DataError before anything else is imported.

    The bytes must have been checked against a signed sha256: a list of names does not make a
    stranger's pickle safe, it keeps it from running anything.
    """
    try:
        found = _OnlyAllowed(io.BytesIO(pickled), place).load()
    except BROKEN as fault:
        told = " ".join(str(fault).split())
        raise DataError(f"{place}: this is no pickled model ({told}). Run: python training.py") from None
    if (type(found).__module__, type(found).__qualname__) != MODEL:
        raise DataError(f"{place}: this is no pickled model (it is something else). Run: python training.py")
    return found


class _OnlyAllowed(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, place: Path) -> None:
        super().__init__(stream)
        self._place = place

    def find_class(self, module: str, name: str) -> Any:
        # exact pairs: a dotted name could walk from something listed to anything else
        if (module, name) not in ALLOWED:
            raise DataError(
                f"{self._place}: it asks for {module}.{name}, which no model needs, and is not unpickled. "
                "Find out who wrote it; then run: python training.py (a new candidate that does need it "
                "has its line added to ALLOWED in attrition/unpickling.py)."
            )
        return super().find_class(module, name)
