"""Write a file whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PREFIX = ".convgru-partial-"
"""How a file begins that is being written, or that a process left which was killed."""
LONGEST_SUFFIX = 40


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a new file beside ``path``, with the same suffix; at the end it replaces ``path``.

    If the block raises, ``path`` stays as it was and nothing is left behind. A process that is
    killed leaves a hidden file beside ``path``, which begins with ``PREFIX``; the next write of
    ``path`` removes it. A link is followed: its target is replaced. The permissions of a file that
    is replaced are kept. With ``overwrite=False`` a file that exists, before the block or after it,
    is kept: FileExistsError. The file of another such block is written in place, for it takes its
    name when that block ends. Raises OSError for a folder, a device or a pipe.

    >>> with replacing("model.safetensors") as temporary:  # doctest: +SKIP
    ...     temporary.write_bytes(data)
    """
    target = Path(path).resolve()
    if target.name.startswith(PREFIX) and target.is_file():
        yield target
        return
    require_file(path)
    if not overwrite:
        _refuse_existing(path)
    _remove_leftovers(target)
    try:
        temporary, handle = _begin(target)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no folder {target.parent}") from None
    try:
        yield temporary
        _flush(temporary, os.O_RDONLY if os.name == "posix" else os.O_RDWR)  # some writers leave a read-only file
        _keep_mode(target, temporary)
        if overwrite:
            os.replace(temporary, target)
        else:
            _put_new(temporary, target, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        if handle is not None:
            os.close(handle)
    if os.name == "posix":
        _flush(target.parent, os.O_RDONLY)


def require_file(path: str | os.PathLike[str]) -> None:
    """Raise OSError if there is something else than a file, which a file must not replace."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(f"{path} is a folder, expected a file")
        if not stat.S_ISREG(mode):
            raise OSError(f"{path}: expected a file, got something else (a pipe or a device)")


def _begin(target: Path) -> tuple[Path, int | None]:
    """Make the new file, and keep it locked as long as it is being written, where there are locks.

    Its name does not grow with the target's, which may be as long as the file system permits.
    """
    suffix = "".join(target.suffixes)[-LONGEST_SUFFIX:] if len(target.suffix) < LONGEST_SUFFIX else ""
    while True:
        temporary = target.with_name(f"{_start(target)}{secrets.token_hex(6)}{suffix}")
        # A new file gets the permissions that the umask asks for, which it would not by tempfile.
        # What replaces another is nobody else's to read before it has that one's.
        mode = 0o600 if target.exists() else 0o666
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        if fcntl is None:  # Windows, which gives no new name to a file that is open
            os.close(handle)
            return temporary, None
        with contextlib.suppress(OSError):  # some file systems of networks have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if temporary.exists():
            return temporary, handle
        os.close(handle)  # another writer took it for a leftover before it was locked


def _start(target: Path) -> str:
    """How the names begin of the files that will replace ``target``."""
    return f"{PREFIX}{hashlib.sha256(target.name.encode(errors='surrogateescape')).hexdigest()[:12]}-"


def _remove_leftovers(target: Path) -> None:
    """Remove what writers of ``target`` left when they were killed: what nobody holds locked."""
    if fcntl is None or not target.parent.is_dir():
        return
    start = _start(target)
    for name in [entry.name for entry in os.scandir(target.parent) if entry.name.startswith(start)]:
        with contextlib.suppress(OSError):  # another's file, or gone in the meantime
            handle = os.open(target.with_name(name), os.O_RDONLY | os.O_NONBLOCK)  # a pipe would block
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                target.with_name(name).unlink()
            finally:
                os.close(handle)


def _keep_mode(target: Path, temporary: Path) -> None:
    """Give the new file the permissions of the one that it replaces, if there is one."""
    with contextlib.suppress(FileNotFoundError):
        temporary.chmod(stat.S_IMODE(target.stat().st_mode))


def _refuse_existing(path: str | os.PathLike[str]) -> None:
    if os.path.lexists(path):
        raise FileExistsError(f"{path} exists")


def _put_new(temporary: Path, target: Path, path: str | os.PathLike[str]) -> None:
    """Give a file its name, unless someone made a file of that name in the meantime."""
    try:
        os.link(temporary, target)
        temporary.unlink()
    except FileExistsError:
        raise FileExistsError(f"{path} exists") from None
    except (OSError, AttributeError, NotImplementedError):  # no hard links here
        try:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            raise FileExistsError(f"{path} exists") from None
        try:
            os.replace(temporary, target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise


def _flush(path: Path, mode: int) -> None:
    handle = os.open(path, mode)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
