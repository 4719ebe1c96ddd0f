"""Cells, stacks and forecaster as MindSpore nn.Cell; importing it prepares MindSpore's CPU use."""

from convgru_mindspore import cpu_setup as cpu_setup
