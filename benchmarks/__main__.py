"""Run benchmarks by name, or all of them: python -m benchmarks models"""

import importlib
import sys

BENCHMARKS = {
    "models": "accuracy, calibration and CPU of the whole procedure beside its peers, on churn data",
}


def main(names: list[str]) -> int:
    if unknown := [name for name in names if name not in BENCHMARKS]:
        print(f"There is no benchmark {unknown[0]!r}. There are:")
        for name, what in BENCHMARKS.items():
            print(f"  {name:12} {what}")
        return 2
    for name in names or BENCHMARKS:
        importlib.import_module(f"benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
