"""RAFT's update block: a separable ConvGRU in PyTorch refines a flow, step by step.

RAFT (Teed and Deng 2020, arXiv:2003.12039) begins with no flow, looks how well the second image
fits the first around the flow so far, and lets a recurrent cell correct it, again and again. Here
is its heart in small: smooth images that were moved by a known, smooth field; features by two
convolutions; their correlation within two pixels, so that what moved further needs several steps;
RAFT's SepConvGRU, ``updates=((1, 5), (5, 1))``, to whose gates features of the first image are
added as a context, as in RAFT-Stereo. The loss weighs later steps more. The end-point error, in
pixels, falls from step to step.

To change: ``pairs``, for images and flows of your own; ``iterations``. To begin with the weights of
a real RAFT, see "inside your own model" in the guides.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import convgru.torch

SIZE, RADIUS = 16, 2


def pairs(batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw images (B, 1, H, W), where their pixels went, and the flow (B, 2, H, W), x first."""

    def smooth(channels: int, size: int) -> Tensor:
        noise = torch.randn(batch, channels, size, size)
        return functional.interpolate(noise, (SIZE, SIZE), mode="bicubic", align_corners=True)

    second, flow = smooth(1, SIZE // 2), 2.5 * smooth(2, 2)
    return moved(second, flow), second, flow


def moved(image: Tensor, flow: Tensor) -> Tensor:
    """Read an image at each pixel plus the flow there."""
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    places = (torch.stack([x, y]) + flow) * 2 / (SIZE - 1) - 1
    return functional.grid_sample(image, places.movedim(1, -1), padding_mode="border", align_corners=True)


class Raft(nn.Module):
    """The flow after each iteration, (iterations, B, 2, H, W)."""

    def __init__(self, channels: int = 8, hidden: int = 16) -> None:
        super().__init__()
        convolutions = nn.Conv2d(1, channels, 5, padding=2), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)
        self.features = nn.Sequential(*convolutions)
        self.context = nn.Conv2d(channels, 3 * hidden, 1)
        looks = (2 * RADIUS + 1) ** 2
        self.gru = convgru.torch.ConvGRUCell(looks + 2, hidden, updates=((1, 5), (5, 1)))
        self.head = nn.Sequential(
            nn.Conv2d(hidden, hidden, 3, padding=1), nn.ReLU(), nn.Conv2d(hidden, 2, 3, padding=1)
        )

    def forward(self, first: Tensor, second: Tensor, iterations: int = 5) -> Tensor:
        first, second = self.features(first), self.features(second)
        context = self.context(first.relu())
        flow, h, flows = first.new_zeros(len(first), 2, SIZE, SIZE), None, []
        for _ in range(iterations):
            flow = flow.detach()  # as in RAFT: each step learns from its own correction
            h = self.gru(torch.cat([self.correlation(first, moved(second, flow)), flow], 1), h, context=context)
            flow = flow + self.head(h)
            flows.append(flow)
        return torch.stack(flows)

    def correlation(self, first: Tensor, second: Tensor) -> Tensor:
        """Return how well features fit those around the same pixel, (B, looks, H, W)."""
        around = functional.unfold(second, 2 * RADIUS + 1, padding=RADIUS).unflatten(1, (first.shape[1], -1))
        return (first[:, :, None] * around.unflatten(3, (SIZE, SIZE))).mean(1)


def end_point_error(flows: Tensor, truth: Tensor) -> Tensor:
    return torch.linalg.vector_norm(flows - truth, dim=-3).mean((-3, -2, -1))


def colours(flow: Tensor) -> np.ndarray:
    """Make images (B, H, W, 3) of a flow: red and green for x and y, 6 pixels either way."""
    return torch.cat([flow / 12 + 0.5, torch.full_like(flow[:, :1], 0.5)], 1).movedim(1, -1).numpy()


def main(steps: int = 500, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    net = Raft()
    optimizer = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    for _ in range(steps):
        first, second, truth = pairs(4)
        errors = end_point_error(net(first, second), truth)
        loss = (errors * 0.8 ** torch.arange(len(errors)).flip(0)).sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()

    first, second, truth = pairs(16)  # which training has not seen
    with torch.no_grad():
        flows = net(first, second, iterations=10)
    errors = end_point_error(torch.cat([torch.zeros_like(flows[:1]), flows]), truth)
    print("end-point error in pixels, after 0 to 10 iterations (training had 5)")
    print(*(f"{error:.2f}" for error in errors))
    rows = {"flow": truth, "after 1 iteration": flows[0], "after 5": flows[4]}
    return {"errors": errors.numpy(), "picture": {name: colours(flow[:8]) for name, flow in rows.items()}}


if __name__ == "__main__":
    main()
