"""Where independent pieces of work are done: here, in processes of this machine, or on a cluster.

Results come in the order in which they were asked for, whichever was ready first: all that follows is
the same to the last bit. A new kind is a line in KINDS. joblib is imported where work is given away.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Protocol, TypeVar

from attrition.settings import Parallel

log = logging.getLogger("attrition")

Shared = TypeVar("Shared")
Unit = TypeVar("Unit")
Result = TypeVar("Result")

# a second of scoring, or several where there are trees: what it costs to start workers
ROWS_WORTH_SENDING = 500_000
# a process with nothing to do ends after so many seconds, and with the script at the latest
IDLE_SECONDS = 10
LOOK_SECONDS = 1.0


class Crew(Protocol):
    """Workers that do one unit of work at a time, each on one thread."""

    def results(
        self, work: Callable[[Shared, Unit], Result], shared: Shared, units: Iterable[Unit]
    ) -> Iterator[tuple[Unit, Result]]:
        """Each unit with its result `work(shared, unit)`, in the order of the units.

        `work` is a function of a room. Units are taken as workers become free, from another thread too:
        so they may depend on results that were given already, as long as too many do no harm.
        """


@dataclass(frozen=True)
class Here:
    """This process: a unit is taken once the result before it was used."""

    def results(
        self, work: Callable[[Shared, Unit], Result], shared: Shared, units: Iterable[Unit]
    ) -> Iterator[tuple[Unit, Result]]:
        for unit in units:
            yield unit, work(shared, unit)


HERE = Here()


@dataclass(frozen=True)
class Processes:
    """Processes of this machine. Where one is killed, what is missing is done here."""

    workers: int

    def results(
        self, work: Callable[[Shared, Unit], Result], shared: Shared, units: Iterable[Unit]
    ) -> Iterator[tuple[Unit, Result]]:
        from concurrent.futures.process import BrokenProcessPool

        import joblib

        crew = joblib.Parallel(
            self.workers,
            backend="loky",
            return_as="generator",
            batch_size=1,
            pre_dispatch="n_jobs",
            max_nbytes=None,
            inner_max_num_threads=1,
            idle_worker_timeout=IDLE_SECONDS,
            initializer=_follow,
            initargs=(os.getpid(),),
        )
        waiting, given = iter(units), deque[Unit]()
        try:
            for result in crew(joblib.delayed(work)(shared, unit) for unit in _noted(waiting, given)):
                yield given.popleft(), result
        except BrokenProcessPool:
            log.warning(
                "a worker process was killed, as the kernel does where memory runs out: "
                "what is missing is done by this process alone. Fewer workers need less memory."
            )
            yield from HERE.results(work, shared, chain(list(given), waiting))


def _follow(parent: int) -> None:
    """In a worker: end with the process that started it.

    Killed, that one reads no results any more, and a worker would wait for ever to hand over a large one.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _noted(units: Iterable[Unit], given: deque[Unit]) -> Iterator[Unit]:
    for unit in units:
        given.append(unit)
        yield unit


def crew(settings: Parallel) -> AbstractContextManager[Crew]:
    """The workers that config.json names, until the context ends.

    ConfigError where a cluster cannot be used: it is out of reach, has no workers, or has other versions.
    """
    return KINDS[settings.backend](settings)


def crew_for(rows: int, settings: Parallel) -> AbstractContextManager[Crew]:
    """Who scores so many rows: this process, where giving them away would cost more than it saves."""
    return crew(settings if rows >= ROWS_WORTH_SENDING else Parallel())


def require(settings: Parallel) -> None:
    """Raise ConfigError now where the workers could not be used later."""
    with crew(settings):
        pass


def _processes(settings: Parallel) -> AbstractContextManager[Crew]:
    import joblib

    workers = settings.workers or joblib.cpu_count()
    return nullcontext(HERE if workers == 1 else Processes(workers))


@contextmanager
def _cluster(settings: Parallel) -> Iterator[Crew]:
    from attrition import cluster

    with cluster.reached(str(settings.address)) as client:
        yield cluster.Cluster(client, settings.workers)


KINDS: dict[str, Callable[[Parallel], AbstractContextManager[Crew]]] = {
    "serial": lambda settings: nullcontext(HERE),
    "loky": _processes,
    "dask": _cluster,
}
