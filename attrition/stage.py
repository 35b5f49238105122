"""The one door every script goes through: arguments, config, lock, log, history line, exit status.

    def main() -> int:
        return stage.enter("training", __doc__, run)

stdout is the result: one sentence, or one JSON object with --json. stderr is the log; log.txt keeps
it all. Only our own errors and faults of the machine become a sentence; a bug keeps its traceback.
"""

import argparse
import dataclasses
import glob
import json
import logging
import logging.handlers
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from attrition import __version__, config, files, ledger
from attrition.config import Config
from attrition.errors import EXIT_STATUSES, AttritionError, DiskError, LockedError

log = logging.getLogger("attrition")

LOG_BYTES = 1_000_000
LOG_FILES = 5
# a tick finishes with these in trouble too
SURVIVED = ("apicalls", "publishing")


class Result(Protocol):
    """What a stage returns: a frozen dataclass. Its text is the sentence, its fields are the keys of --json.

    A field with metadata {"ledger": False} is too bulky for the run history.
    """

    @property
    def status(self) -> str: ...


R = TypeVar("R", bound=Result)
Around = Callable[[Config, str, Callable[[Config], Any]], Any]


@dataclasses.dataclass(frozen=True)
class Action:
    """Something else a script can do instead of its stage, asked for by a flag of its own.

    With a `metavar` the flag takes a value, and `run` gets it after the config.
    """

    flag: str
    run: Callable[..., Result]
    help: str
    only_reads: bool = False
    metavar: str | None = None

    def asked(self, options: argparse.Namespace) -> "Action | None":
        """This action, its value given to it, where it was asked for."""
        value = getattr(options, _attribute(self.flag))
        if value is None or value is False:
            return None
        run = self.run
        given = run if self.metavar is None else lambda config: run(config, value)
        return dataclasses.replace(self, run=given)


def enter(
    stage: str,
    doc: str | None,
    run: Callable[[Config], Result],
    actions: Sequence[Action] = (),
    around: "Around | None" = None,
    silent_when_idle: bool = False,
    argv: Sequence[str] | None = None,
) -> int:
    """Run the stage, or the action asked for, as a command; returns its exit status.

    `around` may take the place of `step`: it calls it, and does what must wait for the history line.
    """
    options = _parser(stage, doc, actions).parse_args(argv)
    action = next((asked for each in actions if (asked := each.asked(options))), None)
    try:
        with _machine_faults():
            result = _run(stage, action or Action("", run, ""), around or step, options)
    except AttritionError as error:
        return _report_failure(stage, error, options)
    silent = options.quiet or (silent_when_idle and result.status == "nothing to do" and not options.verbose)
    return _print(stage, result.status, str(result), _facts(result), options, silent)


def step(config: Config, stage: str, run: Callable[[Config], R]) -> R:
    """Run one stage and write its history line, whether it ends well or not."""
    started, clock = now(), time.monotonic()

    def entry(status: str, sentence: str, facts: dict[str, Any]) -> dict[str, Any]:
        seconds = round(time.monotonic() - clock, 3)
        ran = {"run": config.run, "stage": stage, "started": started, "seconds": seconds}
        return {**ran, "status": status, "sentence": sentence, "facts": facts}

    try:
        with _machine_faults():
            result = run(config)
    except BaseException as error:
        sentence = str(error) or repr(error)
        log.info("%s: failed: %s", stage, sentence)
        # the fault itself must reach the person, even where the history cannot be read or written
        with suppress(OSError):
            if isinstance(error, AttritionError):
                error.told_before = _failed_with(config, stage, sentence)
            if not config.dry_run:
                ledger.append(config.history, entry("failed", sentence, {}))
        raise
    log.info("%s: %s", stage, result)
    if not config.dry_run and not (result.status == "nothing to do" and _was_idle(config, stage)):
        ledger.append(config.history, entry(result.status, str(result), _facts(result, for_ledger=True)))
    return result


def sweep(config: Config) -> None:
    """Remove what killed runs left: drafts of files and of editions, and folders they worked in."""
    for folder in (config.model_folder, config.ingested_folder, config.deployment_folder):
        files.sweep(folder)
        for left in (*folder.glob(".draft-*"), *folder.glob(".work-*")):
            shutil.rmtree(left)
    # its own stamp's alone: beside it another pipeline may be at work on another's
    for draft in config.home.glob(f".{glob.escape(config.stamp.name)}.*.tmp"):
        draft.unlink(missing_ok=True)


def now() -> str:
    """UTC to the second, with a Z."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _run(stage: str, action: Action, around: "Around", options: argparse.Namespace) -> Result:
    configured = config.load(
        options.config,
        practice=options.practice,
        force=options.force,
        dry_run=options.dry_run or action.only_reads,
        run=_run_id(),
    )
    if configured.dry_run:
        with _logging(None, options):
            return around(configured, stage, action.run)
    with _logging(configured.log, options), files.lock(configured.pipeline_lock):
        sweep(configured)
        return around(configured, stage, action.run)


def _run_id() -> str:
    """When and in which process: 20260301T060002.481Z-4711. Names a run; says nothing about order."""
    at = datetime.now(UTC)
    return f"{at:%Y%m%dT%H%M%S}.{at.microsecond // 1000:03d}Z-{os.getpid()}"


def _failed_with(config: Config, stage: str, sentence: str) -> bool:
    """Whether the last run of this stage failed with the same sentence: cron's mail then has it already."""
    last = ledger.last(config.history, stage)
    return last is not None and last["status"] == "failed" and last.get("sentence") == sentence


def _was_idle(config: Config, stage: str) -> bool:
    """Whether the last run of this stage had nothing to do either: a year of such ticks is told once."""
    last = ledger.last(config.history, stage)
    return last is not None and last["status"] == "nothing to do"


def _parser(stage: str, doc: str | None, actions: Sequence[Action]) -> argparse.ArgumentParser:
    statuses = [f"  {status}  {meaning}" for status, meaning in EXIT_STATUSES.items()]
    parser = argparse.ArgumentParser(
        prog=f"{stage}.py",
        description=doc,
        epilog="\n".join([f"example: python {stage}.py --practice --json", "", "exit status:", *statuses]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if actions:
        either = parser.add_mutually_exclusive_group()
        for action in actions:
            if action.metavar is None:
                either.add_argument(action.flag, action="store_true", help=action.help)
            else:
                either.add_argument(action.flag, metavar=action.metavar, help=action.help)
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="config file (default: ATTRITION_CONFIG, or config.json of the project)",
    )
    parser.add_argument(
        "--practice", action="store_true", help="work on practicedata/ and practicemodels/ only"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a sentence")
    parser.add_argument(
        "--dry-run", action="store_true", help="do everything but write; say what would be done"
    )
    parser.add_argument("--force", action="store_true", help="do it even where nothing asks for it")
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("-v", "--verbose", action="store_true", help="show the whole log on stderr")
    loudness.add_argument("-q", "--quiet", action="store_true", help="print nothing on success (for cron)")
    parser.add_argument("--version", action="version", version=f"{stage}.py {__version__}")
    return parser


def _attribute(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


@contextmanager
def _logging(kept: Path | None, options: argparse.Namespace) -> Iterator[None]:
    """Log to stderr as loud as asked, and all to the rotated file; a log that fails never fails the run."""
    person = logging.StreamHandler()
    person.setLevel(logging.INFO if options.verbose else logging.ERROR if options.quiet else logging.WARNING)
    person.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    handlers: list[logging.Handler] = [person]
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept_log = logging.handlers.RotatingFileHandler(
            kept,
            maxBytes=LOG_BYTES,
            backupCount=LOG_FILES - 1,
            encoding="utf-8",
            errors="backslashreplace",
            delay=True,
        )
        kept_log.setFormatter(_OneLine("%(asctime)sZ %(process)d %(levelname)s %(message)s"))
        handlers.append(kept_log)
    log.setLevel(logging.INFO)
    log.propagate = False
    logging.raiseExceptions = False
    for handler in handlers:
        log.addHandler(handler)
    try:
        yield
    except LockedError as error:
        log.info("skipped: %s", error)
        raise
    except Exception:
        if kept:
            kept_log.handle(log.makeRecord(log.name, logging.ERROR, "", 0, "failed", (), sys.exc_info()))
        raise
    finally:
        for handler in handlers:
            log.removeHandler(handler)
            with suppress(OSError):
                handler.close()


class _OneLine(logging.Formatter):
    """One event is one physical line, whatever text it quotes; times are UTC."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\\", "\\\\").replace("\r", "\\r").replace("\n", "\\n")


def _report_failure(stage: str, error: AttritionError, options: argparse.Namespace) -> int:
    # neither a longer run nor a fault that was told already is news for the mail that cron sends
    if not (options.quiet and (isinstance(error, LockedError) or error.told_before)):
        sys.stderr.write(f"{stage}.py: {error}\n")
    _print(stage, "failed", str(error), {}, options, silent=True)
    return error.status


def _print(
    stage: str, status: str, sentence: str, facts: dict[str, Any], options: argparse.Namespace, silent: bool
) -> int:
    try:
        if options.json:
            answer = {"stage": stage, "status": status, "sentence": sentence, **facts}
            sys.stdout.write(json.dumps(answer, allow_nan=False) + "\n")
        elif not silent:
            sys.stdout.write(f"{sentence}\n")
        sys.stdout.flush()
    except OSError as error:
        # what was done is done and recorded; only the telling failed
        sys.stderr.write(f"{stage}.py: standard output cannot be written ({error.strerror}).\n")
        # or Python would try once more as it ends, and make the status 120
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _facts(result: Result, for_ledger: bool = False) -> dict[str, Any]:
    fields = dataclasses.fields(result)  # type: ignore[arg-type]
    kept = [
        f.name for f in fields if f.name != "status" and (f.metadata.get("ledger", True) or not for_ledger)
    ]
    return {name: _plain(getattr(result, name)) for name in kept}


def _plain(value: Any) -> Any:
    """Dataclasses, tuples and paths as JSON knows them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


@contextmanager
def _machine_faults() -> Iterator[None]:
    """A full disk or a lost permission is no bug: it becomes a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno not in files.MACHINE_FAULTS:
            raise
        place = error.filename or "a file of the pipeline"
        next_step = f"{files.MACHINE_FAULTS[error.errno]}, then run again"
        raise DiskError(f"{place}: {error.strerror}. {next_step}; what was there is still whole.") from error
