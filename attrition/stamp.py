"""The very first look of a tick: has anything changed since the last finished run?

It needs only `os`, `time` and one plain-text stamp beside config.json, so that an idle tick costs little more
than starting Python. What is unclear (another flag, no stamp, a folder out of reach) counts as changed.

    attrition stamp 2                    asks which ATTRITION_ variables are set
    setting ATTRITION_TRAINING_FOLDS     asks for a variable's value
    watch /srv/attrition/sourcedata      asks for size, times and inode of each file in it
    until 1772344800                     asks whether this time has come: the tick then has something to tell
    ping PING_URL                        asks nothing: a variable with a URL to ping when the tick ends here
                                         (a blank line; then the answers, as they were)
"""

import os
import time

HEAD = b"attrition stamp 2"
NOT_YET = b"not yet"
PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - pathlib costs 4 ms


def nothing_new(arguments: list[str]) -> bool:
    """Whether a tick may end at once. If so the stamp is touched: its age tells that cron is alive."""
    place = _place(arguments)
    if place is None:
        return False
    try:
        descriptor = os.open(place, os.O_RDONLY)
        try:
            questions, _, answers = os.read(descriptor, os.fstat(descriptor).st_size).partition(b"\n\n")
        finally:
            os.close(descriptor)
        if not questions.startswith(HEAD) or _answers(questions) != answers:
            return False
        os.utime(place)
    except (OSError, ValueError):
        return False
    _ping(questions)
    return True


def text(watched: list[str], settings: list[str]) -> bytes:
    """A stamp of what is there now; take it before the work, and write it when all of it is finished."""
    questions = b"\n".join([HEAD, *(os.fsencode(f"setting {name}") for name in settings), *_watch(watched)])
    return questions + b"\n\n" + _answers(questions)


def extended(stamp: bytes, watched: list[str], until: float | None = None, ping: str | None = None) -> bytes:
    """The same stamp with more to watch, as it is now: the run's own results.

    From `until` (seconds since 1970) on no tick is idle. `ping` names a variable with a URL.
    """
    questions, _, answers = stamp.partition(b"\n\n")
    more = b"\n".join(_watch(watched))
    questions, answers = b"\n".join([questions, more]), b"\n".join([answers, _answers(more)])
    if until is not None:
        # written as not yet come, even where it has: then the next tick is not idle
        questions, answers = questions + b"\nuntil %d" % until, answers + b"\n" + NOT_YET
    return questions + (b"\nping " + os.fsencode(ping) if ping else b"") + b"\n\n" + answers


def _ping(questions: bytes) -> None:
    for question in questions.split(b"\n"):
        kind, _, name = question.partition(b" ")
        if kind == b"ping":
            from attrition import posting

            # a fault is told by the switch itself, which misses the ping
            posting.ping(os.environ.get(os.fsdecode(name)))


def _watch(paths: list[str]) -> list[bytes]:
    return [b"watch " + os.fsencode(path) for path in paths]


def _answers(questions: bytes) -> bytes:
    answers: list[bytes] = []
    for question in questions.split(b"\n"):
        kind, _, name = question.partition(b" ")
        if question == HEAD:
            answers.append(b" ".join(sorted(name for name in os.environb if name.startswith(b"ATTRITION_"))))
        elif kind == b"setting":
            answers.append(os.environb.get(name, b""))
        elif kind == b"until":
            answers.append(NOT_YET if time.time() < int(name) else b"come")
        elif kind == b"watch":
            answers += _look_at(name)
    return b"\n".join(answers)


def _look_at(path: bytes) -> list[bytes]:
    try:
        # formatted one by one: a thousand kept stat results would cost a millisecond of fresh memory
        return sorted(_line(entry.name, entry.stat(follow_symlinks=False)) for entry in os.scandir(path))
    except NotADirectoryError:
        return [_line(b"", os.lstat(path))]
    except FileNotFoundError:
        return [b"absent"]


def _line(name: bytes, at: os.stat_result) -> bytes:
    return b"%s %d %d %d %d" % (name, at.st_size, at.st_mtime_ns, at.st_ctime_ns, at.st_ino)


def _place(arguments: list[str]) -> str | None:
    """Where the stamp of these arguments lies; None where they ask for more than a plain tick."""
    config, practice, rest = os.environ.get("ATTRITION_CONFIG"), "", list(arguments)
    while rest:
        flag = rest.pop(0)
        if flag == "--practice":
            practice = ".practice"
        elif flag == "--config" and rest:
            config = rest.pop(0)
        elif flag not in ("-q", "--quiet"):
            return None
    folder, _, name = os.path.abspath(config or f"{PROJECT}/config.json").rpartition("/")  # noqa: PTH100
    return f"{folder}/.{name}{practice}.stamp"
