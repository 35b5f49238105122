"""What can go wrong in a way a person can act on: a sentence with place, fault and next step.

Each kind has its exit status, the same in every script.
"""

EXIT_STATUSES = {
    0: "done, or nothing to do",
    1: "unexpected: a bug, or the machine (a full disk, a lost permission)",
    2: "usage: an unknown flag or a missing value",
    3: "bad config: config.json is missing, broken or says something impossible",
    4: "bad or missing input: the data cannot be used as it is",
    5: "another run holds the lock",
    6: "the live release is missing or damaged",
    7: "the API check failed",
}


class AttritionError(Exception):
    """A fault with a sentence for a person; the door prints it without a traceback."""

    status = 1
    told_before = False


class UsageError(AttritionError):
    status = 2


class ConfigError(AttritionError):
    status = 3


class DataError(AttritionError):
    status = 4


class LockedError(AttritionError):
    status = 5


class ReleaseError(AttritionError):
    status = 6


class ApiError(AttritionError):
    status = 7


class KeyFault(AttritionError):
    """The key that signs releases is gone, out of reach, damaged, or not private."""

    status = 1


class DiskError(AttritionError):
    """The machine refused to read or write: full, read-only, not permitted."""

    status = 1


class ClusterError(AttritionError):
    """The cluster that parallel.address names was lost half way, or gave up."""

    status = 1
