"""The MindSpore room: cells, stacks and forecaster as nn.Cell, on pure functions; importing it
primes MindSpore.
"""

from convgru_mindspore import cpu_setup as cpu_setup
