"""Save a network's constructor arguments with huggingface_hub's PyTorchModelHubMixin, as JSON.

``convgru.formats.hub`` reads the files back as weights, in any framework.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from convgru.spec import Spec
from convgru.spec.describe import json_arguments

CONFIG = "_hub_mixin_config"
"""Where the mixin keeps what it will write into config.json: the arguments that its ``__new__``
saw.
"""


def new(cls: Any, spec: Spec, **options: Any) -> Any:
    """Make an instance without ``__init__``, whose arguments the mixin takes from the spec."""
    return cls.__new__(cls, **json_arguments(spec), **options)


def keep_tuples(module: nn.Module, spec: Spec) -> None:
    """Write the arguments that the mixin recorded in the form that survives JSON.

    There a tuple (for each dimension) becomes a list (for each layer): the network made again from
    it would be another one, and may have the same shapes. A subclass with a constructor of its own
    names its own arguments.
    """
    config = getattr(module, CONFIG, None)
    if isinstance(config, dict) and type(module).__init__.__module__.split(".")[0] == __package__:
        config.update({name: value for name, value in json_arguments(spec).items() if name in config})
