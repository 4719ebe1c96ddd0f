"""The exceptions that convgru defines."""


class WeightsError(ValueError):
    """Weights, or a file of weights, that are not what they should be."""


class UsageError(ValueError):
    """Arguments of the command line that do not go together: exit code 2."""


class UnsupportedError(TypeError):
    """A framework cannot compute this on this device in this dtype; the message says why."""
