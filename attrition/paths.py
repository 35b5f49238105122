"""A dataset that a request names: opened below the input, test or ingested folder, never anywhere else.

Names must fit a pattern, and are opened so that the kernel follows no link and leaves no folder: by openat2
where there is one, else component by component. Whatever cannot be had gets one and the same answer: nobody
learns what lies on the disk.
"""

import ctypes
import errno
import os
import re
import stat
from pathlib import Path, PurePosixPath

from attrition import generations
from attrition.config import Config
from attrition.errors import DataError
from attrition.problems import Refused

COMPONENT = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
NAME = re.compile(rf"{COMPONENT}(?:/{COMPONENT}){{0,3}}")
LARGEST = 16 * 1024 * 1024

ABSENT = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EXDEV, errno.EACCES, errno.EPERM),
    *(errno.ENXIO, errno.ENODEV, errno.ENAMETOOLONG, errno.EAGAIN, errno.EINVAL),
)
TO_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
TO_PASS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

# openat2 has one number on every architecture of Linux but alpha
OPENAT2 = 437
NO_MAGICLINKS, NO_SYMLINKS, BENEATH = 0x02, 0x04, 0x08


class _How(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def read(config: Config, name: str) -> bytes:
    """The bytes of the dataset that a request names, or Refused."""
    if not NAME.fullmatch(name):
        raise Refused(400, "filepath must be a plain relative path like testdata/testdata.csv.")
    folder, rest = _place(config, PurePosixPath(name))
    try:
        descriptor = open_below(folder, rest)
    except OSError as error:
        if error.errno not in ABSENT:
            raise
        raise _absent(config) from None
    try:
        at = os.fstat(descriptor)
        # a second hard link could be another folder's file under a dataset's name
        if not stat.S_ISREG(at.st_mode) or at.st_nlink != 1:
            raise _absent(config)
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            data = stream.read(LARGEST + 1)
    finally:
        os.close(descriptor)
    if len(data) > LARGEST:
        raise Refused(413, f"The dataset is larger than {LARGEST} bytes. Send its rows in parts.")
    return data


def names(config: Config) -> dict[str, Path]:
    """What requests call the allowed folders; one outside of the project goes by its own name."""
    folders = (config.input_folder, config.test_folder, config.ingested_folder)
    home = config.home
    return {
        (folder.relative_to(home).as_posix() if folder.is_relative_to(home) else folder.name): folder
        for folder in folders
    }


def open_below(folder: Path, rest: PurePosixPath) -> int:
    """A descriptor of folder/rest; OSError where a component is a link or leads out of the folder."""
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            return _openat2(root, os.fsencode(rest))
        except OSError as error:
            # an old kernel, or a sandbox that does not know the call
            if error.errno not in (errno.ENOSYS, errno.EPERM):
                raise
        return _open_by_component(root, rest)
    finally:
        os.close(root)


def _place(config: Config, name: PurePosixPath) -> tuple[Path, PurePosixPath]:
    for prefix, folder in names(config).items():
        if name.is_relative_to(prefix) and name != PurePosixPath(prefix) and name.suffix == ".csv":
            rest = name.relative_to(prefix)
            if folder == config.ingested_folder and rest.name == str(rest) == config.final_data.name:
                return folder, _of_the_current_generation(config, rest)
            return folder, rest
    raise _absent(config)


def _of_the_current_generation(config: Config, rest: PurePosixPath) -> PurePosixPath:
    """finaldata.csv is a link by design: read once where it leads, then opened as any other."""
    try:
        generation = generations.current(config)
    except DataError:
        raise Refused(503, "The ingested data is damaged. Run: python ingestion.py --force") from None
    if generation is None:
        raise _absent(config)
    return PurePosixPath(generation.folder.relative_to(config.ingested_folder)) / rest


def _absent(config: Config) -> Refused:
    return Refused(404, f"There is no such dataset (*.csv) below {', '.join(names(config))}.")


def _openat2(root: int, rest: bytes) -> int:
    how = _How(TO_READ, 0, BENEATH | NO_SYMLINKS | NO_MAGICLINKS)
    size = ctypes.c_size_t(ctypes.sizeof(how))
    descriptor: int = _libc.syscall(
        ctypes.c_long(OPENAT2), ctypes.c_long(root), rest, ctypes.byref(how), size
    )
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return descriptor


def _open_by_component(root: int, rest: PurePosixPath) -> int:
    folder = os.dup(root)
    try:
        for component in rest.parts[:-1]:
            inner = os.open(component, TO_PASS, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(rest.parts[-1], TO_READ, dir_fd=folder)
    finally:
        os.close(folder)


_libc = ctypes.CDLL(None, use_errno=True)
