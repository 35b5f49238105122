"""Run the benchmarks, all or those named, and print their tables; `make bench`, `make bench-full`.

Example: python -m benchmarks --short
         python -m benchmarks tick
         python -m benchmarks ingestion --full
"""

import argparse
import sys
from collections.abc import Sequence

from benchmarks.session import BENCHMARKS, machine, measured, selected, told


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)}; all by default")
    sizes = parser.add_mutually_exclusive_group()
    for size, meaning in (("short", "all of them in about ten minutes"), ("full", "as long as it takes")):
        sizes.add_argument(f"--{size}", dest="size", action="store_const", const=size, help=meaning)
    options = parser.parse_args(arguments)
    size = options.size or "usual"
    if unknown := [name for name in options.names if name not in BENCHMARKS]:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}")
    print(machine(), flush=True)
    ends = [measured(name, size) for name in selected(options.names, size)]
    print(f"\n## What it took\n\n{told(ends)}\n\n{machine()}")
    return 1 if any(end.status for end in ends) else 0


if __name__ == "__main__":
    sys.exit(main())
