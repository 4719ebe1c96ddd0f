"""Write a file whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a new file beside ``path``, with the same suffix; at the end it replaces ``path``.

    If the block raises, ``path`` stays as it was and nothing is left behind. A link is followed:
    its target is replaced. With ``overwrite=False`` a file that exists, before the block or after
    it, is kept: FileExistsError.

    >>> with replacing("model.safetensors") as temporary:  # doctest: +SKIP
    ...     temporary.write_bytes(data)
    """
    target = Path(path).resolve()
    if not overwrite:
        _refuse_existing(path)
    temporary = target.with_name(f".{secrets.token_hex(6)}.{target.name}")
    # Made here, and not by tempfile, so that it gets the permissions that the umask asks for.
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no folder {target.parent}") from None
    try:
        yield temporary
        _flush(temporary, os.O_RDONLY if os.name == "posix" else os.O_RDWR)  # some writers leave a read-only file
        if overwrite:
            os.replace(temporary, target)
        else:
            _put_new(temporary, target, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        _flush(target.parent, os.O_RDONLY)


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
