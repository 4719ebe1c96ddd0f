"""Mixed precision: convolutions in the low precision, everything else in the parameters'.

MindSpore would run every operation inside a cell in float16, and return a float16 state, which
rounds at every step. The cells here take the request themselves: a convolution casts its input and
its weight and casts its result back. Gates, state, norms and output stay in the dtype of the
parameters, as they do under torch.autocast.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
from mindspore import nn
from mindspore.nn.cell import MixedPrecisionType

from convgru.errors import UnsupportedError
from convgru_mindspore.arguments import BFLOAT16

FLAGS = {"fp16": ms.float16, "fp32": ms.float32, "bf16": ms.bfloat16}
"""The flags with which ``to_float`` and ``mindspore.amp`` ask a cell for a precision."""


class MixedPrecisionCell(nn.Cell):
    """A cell that keeps its state in the parameters' dtype under mixed precision.

    That is after ``to_float`` or ``mindspore.amp``.
    """

    compute_dtype: Any = None
    """The dtype of the convolutions; None for that of the parameters."""

    def add_flags(self, **flags: Any) -> Any:
        """Read a request for a precision; all other flags go to ``nn.Cell.add_flags``.

        Raises UnsupportedError for bfloat16.
        """
        requests = {name: flags.pop(name) for name in FLAGS if name in flags}
        if requests:
            self._set_compute_dtype(next((FLAGS[name] for name, wanted in requests.items() if wanted), None))
        return super().add_flags(**flags)

    def _set_compute_dtype(self, dtype: Any) -> None:
        if dtype == ms.bfloat16:
            raise UnsupportedError(BFLOAT16)
        self.compute_dtype = dtype
        self.mixed_precision_type = MixedPrecisionType.NOTSET  # in PyNative mode an enclosing cell's request ends here
        compiled: Any = self.compile_cache
        compiled.clear()  # a graph that was compiled before computes in another precision
