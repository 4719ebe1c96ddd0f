"""The fast sequence function on an accelerator: as ``convgru_torch.sequence``, with other means.

The input convolution is that of all frames; what is pointwise in a step is one kernel of Triton,
or two; the gates are kept where W*x was. Weights' gradients are of many frames at once.
"""

from convgru_torch.accelerator.sequence import backward, forward

__all__ = ["backward", "forward"]
