"""A ConvGRU in plain PyTorch, as many repositories have it: what others would run parity on."""

import torch
from torch import nn


class PlainConvGRU(nn.Module):
    """Convolutions of input and state, concatenated; reset before."""

    def __init__(self, in_channels, hidden_channels, kernel_size):
        super().__init__()
        padding, channels = tuple(size // 2 for size in kernel_size), in_channels + hidden_channels
        self.gates = nn.Conv2d(channels, 2 * hidden_channels, kernel_size, padding=padding)
        self.candidate = nn.Conv2d(channels, hidden_channels, kernel_size, padding=padding)

    def forward(self, frames, h):
        outputs = []
        for x in frames:
            h = self.step(x, h)
            outputs.append(h)
        return torch.stack(outputs), h

    def step(self, x, h):
        r, z = torch.sigmoid(self.gates(torch.cat([x, h], 1))).chunk(2, 1)
        n = torch.tanh(self.candidate(torch.cat([x, r * h], 1)))
        return z * h + (1 - z) * n
