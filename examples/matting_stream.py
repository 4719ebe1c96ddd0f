"""Streaming video matting: a decoder in PyTorch that keeps its state from clip to clip.

A small network finds the matte, what is foreground, of a video under heavy noise. Its decoder has a
ConvGRU at each of two scales, through which half of the channels go: that is its memory. It is
trained on long videos cut into clips, the state handed on and detached between them (truncated
backpropagation through time). Then it reads a video in three ways that must give the same answer:
whole, clip by clip, and frame by frame as a camera delivers it. The last line says what the memory
is worth: the error if the state is thrown away after each frame.

To change: ``video``, for frames and mattes of your own; ``channels``; the length of a clip.
"""

import numpy as np
import torch
from torch import Tensor, nn

import convgru.torch

SIZE = 24
State = tuple[tuple[Tensor, ...] | None, ...]  # of each scale, which is a network of its own


def video(rng: np.random.Generator, time: int, batch: int) -> tuple[Tensor, Tensor]:
    """Draw discs that wander over a dark ground: noisy frames and mattes, (T, B, 1, H, W)."""
    t, phase, pace = np.arange(time)[:, None], rng.uniform(0, 6, (2, 1, batch)), rng.uniform(0.05, 0.2, (2, 1, batch))
    top, left = (SIZE / 2 + SIZE / 4 * np.sin(phase + pace * t))[..., None, None]
    y, x = np.mgrid[:SIZE, :SIZE]
    matte = 1 / (1 + np.exp(np.hypot(y - top, x - left) - SIZE / 5))
    frames = matte + rng.normal(0, 1.5, matte.shape)
    return torch.from_numpy(frames[:, :, None]).float(), torch.from_numpy(matte[:, :, None]).float()


def each(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a layer for images to each frame of a sequence."""
    return layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class Scale(nn.Module):
    """One scale of the decoder: half of its channels go through a ConvGRU."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.join = nn.Sequential(nn.Conv2d(in_channels, channels, 3, padding=1), nn.ReLU())
        self.gru = convgru.torch.ConvGRU(channels // 2, channels // 2)

    def forward(self, x: Tensor, state: tuple[Tensor, ...] | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        still, moving = each(self.join, x).chunk(2, dim=2)
        moving, state = self.gru(moving, state)
        return torch.cat([still, moving], dim=2), state


class Matting(nn.Module):
    """Mattes (T, B, 1, H, W) from frames of that shape, and the state to go on with."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.fine = nn.Sequential(nn.Conv2d(1, channels, 3, padding=1), nn.ReLU())
        self.coarse = nn.Sequential(nn.Conv2d(channels, channels, 3, stride=2, padding=1), nn.ReLU())
        self.scales = nn.ModuleList([Scale(channels, channels), Scale(2 * channels, channels)])
        self.up, self.matte = nn.Upsample(scale_factor=2), nn.Conv2d(channels, 1, 1)

    def forward(self, frames: Tensor, state: State = (None, None)) -> tuple[Tensor, State]:
        fine = each(self.fine, frames)
        x, low = self.scales[0](each(self.coarse, fine), state[0])
        x, high = self.scales[1](torch.cat([each(self.up, x), fine], dim=2), state[1])
        return each(self.matte, x).sigmoid(), (low, high)

    def step(self, frame: Tensor, state: State = (None, None)) -> tuple[Tensor, State]:
        """Take one frame (B, 1, H, W): a clip of one."""
        matte, state = self(frame[None], state)
        return matte[0], state


def train(net: Matting, rng: np.random.Generator, videos: int, clips: int = 4, clip: int = 6) -> None:
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(videos):
        state: State = (None, None)
        for frames, mattes in zip(*(part.split(clip) for part in video(rng, clips * clip, 4)), strict=True):
            predicted, state = net(frames, state)
            loss = nn.functional.mse_loss(predicted, mattes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            state = tuple(convgru.torch.detach(part) for part in state)  # the gradient ends here


@torch.no_grad()
def main(videos: int = 60, seed: int = 0) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    net = Matting()
    with torch.enable_grad():
        train(net, rng, videos)
    net.eval()

    frames, mattes = video(rng, 30, 8)
    whole, _ = net(frames)
    state: State = (None, None)
    clips = []
    for clip in frames.split(7):
        matte, state = net(clip, state)
        clips.append(matte)
    state, stream, alone = (None, None), [], []
    for frame in frames:
        matte, state = net.step(frame, state)
        stream.append(matte)
        alone.append(net.step(frame)[0])

    results = {
        "clips, largest difference from the whole": (torch.cat(clips) - whole).abs().max().item(),
        "stream, largest difference from the whole": (torch.stack(stream) - whole).abs().max().item(),
        "mean squared error with memory": (whole - mattes).square().mean().item(),
        "mean squared error without": (torch.stack(alone) - mattes).square().mean().item(),
    }
    for name, value in results.items():
        print(f"{name:42} {value:.2g}")
    return results


if __name__ == "__main__":
    main()
