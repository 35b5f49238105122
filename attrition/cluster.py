"""The cluster of dask that parallel.address names: reached, compared with this machine, and watched.

Its scheduler and workers are started by people. Who may speak to them can run any code, here too.
"""

import asyncio
import hashlib
import importlib
import logging
import operator
import platform
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from attrition.errors import ClusterError, ConfigError

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger("attrition")

Shared = TypeVar("Shared")
Unit = TypeVar("Unit")
Result = TypeVar("Result")

# the scheduler must answer, and have a worker, within this many seconds
REACH_SECONDS = 10.0
# a cluster that lost all its workers is given so long to bring one back
LOST_SECONDS = 30.0
LOOK_SECONDS = 1.0
# with other versions of these the digits of a model may differ
PACKAGES = ("numpy", "scipy", "pandas", "scikit-learn", "interpret-core", "joblib", "distributed")
SERIAL = 'or set parallel.backend to "serial".'


@dataclass(frozen=True)
class Cluster:
    """Workers on other machines. One that dies has its unit done by another."""

    client: "Client"
    most: int | None = None

    def results(
        self, work: Callable[[Shared, Unit], Result], shared: Shared, units: Iterable[Unit]
    ) -> Iterator[tuple[Unit, Result]]:
        import joblib

        backend = _watched_backend(self.client, shared)
        crew = joblib.Parallel(
            n_jobs=-1,
            backend=backend,
            return_as="generator",
            batch_size=1,
            pre_dispatch=self.most or "n_jobs",
        )
        facts, given = tuple(here().items()), deque[Unit]()

        def tasks() -> Iterator[Any]:
            for unit in units:
                given.append(unit)
                yield joblib.delayed(_there)(facts, work, shared, unit)

        with _watching(self.client, backend.fail):
            for result in crew(tasks()):
                yield given.popleft(), result


def _there(
    facts: tuple[tuple[str, str], ...], work: Callable[[Shared, Unit], Result], shared: Shared, unit: Unit
) -> Result:
    """In a worker: one that joined after the others were looked at may differ from them."""
    import joblib

    if told := differences(dict(facts), here()):
        raise ClusterError(f"A worker that joined the cluster half way has {told}. {_alike()}")
    # what a model does inside stays in this process, instead of going round the cluster
    with joblib.parallel_config(backend="sequential"):
        return work(shared, unit)


@contextmanager
def reached(address: str) -> Iterator["Client"]:
    """A client of the scheduler at this address, whose workers compute as this machine does.

    ConfigError with a sentence where there is none within REACH_SECONDS, or where a worker differs.
    """
    try:
        import distributed
    except ModuleNotFoundError:
        raise ConfigError(
            f'parallel.backend is "dask", and its packages are not installed. Run: make cluster, {SERIAL}'
        ) from None
    # what it would tell of a lost connection, with tracebacks, is told by the sentences below
    for name in ("distributed", "distributed.client", "tornado.application"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        client = distributed.Client(address, timeout=REACH_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as fault:
        raise ConfigError(
            f"parallel.address: no scheduler of dask answers at {address} ({_in_short(fault)}). "
            f"Start it, correct the address, {SERIAL}"
        ) from None
    try:
        _admit(client, address)
        yield client
    finally:
        with suppress(OSError):
            client.close(timeout=REACH_SECONDS)


def _admit(client: "Client", address: str) -> None:
    import distributed

    try:
        client.wait_for_workers(1, timeout=REACH_SECONDS)
    except TimeoutError:
        raise ConfigError(
            f"parallel.address: the scheduler at {address} has no workers. Start some: "
            f"dask worker {address} --nthreads 1, {SERIAL}"
        ) from None
    threads = client.nthreads()
    asked = {worker: _ask(client, worker) for worker in threads}
    with client.as_current(), suppress(TimeoutError):
        distributed.wait(list(asked.values()), timeout=REACH_SECONDS)
    for worker, answer in asked.items():
        if fault := _unfit(threads[worker], answer):
            raise ConfigError(f"parallel.address: the worker {worker} {fault}")
    log.info("the cluster at %s has %d workers", address, len(threads))


def _ask(client: "Client", worker: str) -> Any:
    """What `here` says there. By name: a worker that cannot find a function it is sent dies of it."""
    how = {"workers": [worker], "allow_other_workers": False, "pure": False}
    room = client.submit(importlib.import_module, __name__, **how)
    return client.submit(operator.methodcaller("here"), room, **how)


def _unfit(threads: int, answer: Any) -> str | None:
    """Why a worker cannot be used, or None."""
    if threads != 1:
        return f"runs {threads} threads, and each fit needs a process of its own. Start it with --nthreads 1"
    if answer.status == "error":
        return f"cannot import this pipeline ({_in_short(answer.exception())}). {_alike()}"
    if answer.status != "finished":
        return (
            f"did not answer within {REACH_SECONDS:g} seconds: it hangs, or works for others. Wait, {SERIAL}"
        )
    told = differences(here(), answer.result())
    return f"has {told}. {_alike()}" if told else None


def _alike() -> str:
    return (
        "Start every worker in a checkout of this very version, with the packages of requirements.txt "
        "and requirements-cluster.txt, on processors of one kind."
    )


def _in_short(fault: BaseException | None) -> str:
    return (str(fault).strip().splitlines() or [type(fault).__name__])[0][:200]


def differences(mine: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """What differs between two machines as `here` tells of them, in words; "" where nothing does."""
    return ", ".join(
        f"{name} {theirs.get(name, 'missing')} instead of {value}"
        for name, value in mine.items()
        if theirs.get(name) != value
    )


@cache
def here() -> dict[str, str]:
    """What the digits of a model depend on: Python, packages, this code, and how the processor computes."""
    from importlib.metadata import version

    code = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        code.update(path.read_bytes())
    return {
        "Python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "code": code.hexdigest()[:12],
        "arithmetic": _digits(),
    }


def _digits() -> str:
    """A fingerprint of the last bits: sums, products and functions are rounded as the processor likes."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    values = np.linspace(-3.0, 3.0, 4096)
    square = np.exp(values).reshape(64, 64)
    with threadpool_limits(limits=1):
        product = square @ square.T + 64 * np.eye(64)
        found = [
            np.exp(values),
            np.log1p(np.abs(values)),
            product,
            square @ values[:64],
            np.linalg.solve(product, values[:64]),
            np.array([values.sum(), values @ values]),
        ]
    return hashlib.sha256(b"".join(each.tobytes() for each in found)).hexdigest()[:12]


def _watched_backend(client: "Client", shared: Any) -> Any:
    """joblib's own backend for dask, which tells of a task that the cluster gave up.

    Joblib's waits for its result for ever.
    """
    from joblib._dask import DaskDistributedBackend

    class Watched(DaskDistributedBackend):
        def __init__(self) -> None:
            super().__init__(client=client, scatter=[shared])
            self.open: set[Future[Any]] = set()

        def effective_n_jobs(self, n_jobs: int) -> int:
            # for one worker joblib would do the work in this process
            return max(2, super().effective_n_jobs(n_jobs))

        def submit(self, func: Any, callback: Any = None) -> Any:
            future = super().submit(func, callback)
            self.open.add(future)

            def done(future: "Future[Any]") -> None:
                self.open.discard(future)
                if (fault := future.exception()) is not None:
                    callback(_given_up(fault))

            future.add_done_callback(done)
            return future

        def retrieve_result_callback(self, out: Any) -> Any:
            # what the work raised comes as it is; a task that got lost was cancelled
            lost = isinstance(out, asyncio.CancelledError | CancelledError)
            return super().retrieve_result_callback(_given_up(out) if lost else out)

        def fail(self, fault: ClusterError) -> None:
            for future in list(self.open):
                with suppress(InvalidStateError):
                    future.set_exception(fault)

    return Watched()


def _given_up(fault: BaseException) -> ClusterError:
    if isinstance(fault, ClusterError):
        return fault
    return ClusterError(
        f"The cluster gave up ({_in_short(fault)}). Nothing was changed: run again once its workers stay "
        f"alive, {SERIAL}"
    )


@contextmanager
def _watching(client: "Client", fail: Callable[[ClusterError], None]) -> Iterator[None]:
    """While this lasts, a cluster without workers for LOST_SECONDS fails all that it was given."""
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(client, fail, over), daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join(2 * REACH_SECONDS)


def _watch(client: "Client", fail: Callable[[ClusterError], None], over: threading.Event) -> None:
    seen = time.monotonic()
    while not over.wait(LOOK_SECONDS):
        if _has_workers(client):
            seen = time.monotonic()
        elif time.monotonic() - seen > LOST_SECONDS:
            fail(
                ClusterError(
                    f"The cluster has had no workers for {LOST_SECONDS:g} seconds. Nothing was changed: "
                    f"start workers and run again, {SERIAL}"
                )
            )


def _has_workers(client: "Client") -> bool:
    # None once the client has closed its connection
    scheduler: Any = client.scheduler
    try:
        return bool(client.sync(scheduler.ncores, callback_timeout=REACH_SECONDS))
    except (OSError, TimeoutError, RuntimeError, AttributeError):
        return False
