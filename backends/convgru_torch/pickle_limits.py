"""Limits on the work and the memory that the pickles of one file may ask for."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

MAX_OPERATIONS = 1 << 19
"""Operations of all pickles of a file; a tensor by its name takes 26, a parameter 36."""
BYTES_PER_OPERATION = 1024
"""A large file may have one operation more for each so many bytes."""
MAX_NAMES = 1000
"""How many globals a file may name; those of torch are some hundred."""
MAX_NAME = 1000
"""Characters of a global's name."""
MAX_PICKLE = 64 << 20
"""Bytes of one pickle: it holds names, shapes and hyperparameters, no tensor data."""


class Limits:
    """What is left for the pickles of one file of ``size`` bytes.

    An object may be referred to any number of times in two bytes each, so what calls are given
    counts each time: ``set``, ``OrderedDict`` or an encoding copies it.
    """

    def __init__(self, size: int) -> None:
        self.operations = self.items = max(MAX_OPERATIONS, size // BYTES_PER_OPERATION)
        self.text = 2 * size

    def operation(self) -> None:
        """Count one operation. Raises ValueError if it is one too many."""
        self.operations -= 1
        if self.operations < 0:
            raise ValueError("expected fewer operations in a file of this size: torch.save writes some 30 for a tensor")

    def given(self, *objects: Any) -> None:
        """Count the items and the text of what a call is given. ValueError if they are too many."""
        for each in objects:
            if isinstance(each, (str, bytes)):
                self.text -= len(each)
            elif isinstance(each, Sized):
                self.items -= len(each)
        if min(self.items, self.text) < 0:
            raise ValueError("expected each object to be handed to one call, got the same ones again and again")
