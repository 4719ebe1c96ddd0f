"""The MindSpore room: cells, stacks and forecaster as nn.Cell, on pure functions; importing it primes MindSpore."""

from convgru_mindspore import prime as prime  # first of all: it must act before MindSpore's first convolution
