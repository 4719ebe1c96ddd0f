"""Train a nowcaster in PyTorch, write it to a file, forecast with that file in other frameworks: one page to start from."""

import argparse
import time

import numpy as np
import torch

import convgru
import convgru.torch
from convgru.demo import data, skill


def crops(frames: torch.Tensor, length: int, size: int = 48, count: int = 8) -> torch.Tensor:
    """Random crops in space and time: (length, count, 1, size, size), some of them drier than they were."""
    batch = []
    for _ in range(count):
        t, y, x = (np.random.randint(n - s + 1) for n, s in zip(frames.shape, (length, size, size), strict=True))
        crop = frames[t : t + length, y : y + size, x : x + size]
        batch.append((crop - 0.6 * np.random.rand()).clamp(min=0))
    return torch.stack(batch, 1)[:, :, None]


def train(frames: torch.Tensor, seconds: float) -> torch.nn.Module:
    """Six frames in, nine out, mean squared error."""
    net = convgru.torch.Forecaster("gru", channels=1, hidden_channels=[24, 24], kernel_size=3, patch=4)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    end, step = time.monotonic() + seconds, 0
    while step == 0 or time.monotonic() < end:
        batch = crops(frames, 15)
        forecast, _ = net(batch[:6], steps=9)
        loss = torch.nn.functional.mse_loss(forecast, batch[6:])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 25 == 0:
            print(f"step {step}: loss {loss.item() * data.SCALE**2:.1f} dBZ²")
    return net


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=75.0, help="how long to train")
    installed = [name for name, backend in convgru.registry.available().items() if not isinstance(backend, str)]
    parser.add_argument("--to", nargs="*", default=installed, help="frameworks to forecast in (default: all)")
    args = parser.parse_args()

    net = train(torch.from_numpy(data.load(data.TRAINING_DAY)) / data.SCALE, args.seconds)
    convgru.write(convgru.extract(net), "nowcaster.safetensors")

    weights = convgru.read("nowcaster.safetensors")
    given, truth = data.windows(data.load(data.TEST_DAY))
    still = skill.mse(skill.persistence(given, len(truth)), truth)
    for name in args.to:
        frames, _, _ = convgru.registry.get(name).execute(weights, given / data.SCALE, steps=len(truth))
        print(f"{name}: error / persistence by lead time {np.round(skill.mse(frames * data.SCALE, truth) / still, 2)}")


if __name__ == "__main__":
    main()
