"""Train a nowcaster in PyTorch, write it to a file, and forecast with it in other frameworks."""

import argparse

import numpy as np

import convgru
from convgru.demo import data, skill
from convgru_torch.nowcast import train  # the training loop: copy that page to change it

SPEC = convgru.forecaster("gru", channels=1, hidden_channels=[24, 24], kernel_size=3, patch=4)


def report(done: float, step: int, loss: float) -> None:
    if step % 25 == 0:
        print(f"{done:4.0%}, step {step}: loss {loss * data.SCALE**2:.1f} dBZ²")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=75.0, help="how long to train")
    parser.add_argument("--to", nargs="*", help="frameworks to forecast in (default: all that are installed)")
    args = parser.parse_args()

    frames = data.load(data.TRAINING_DAY) / data.SCALE
    weights = train(SPEC, frames, data.GIVEN, seconds=args.seconds, report=report)
    convgru.write(weights, "nowcaster.safetensors")

    weights = convgru.read("nowcaster.safetensors")
    given, truth = data.windows(data.load(data.TEST_DAY))
    still = skill.mse(skill.persistence(given, len(truth)), truth)
    installed = [name for name, backend in convgru.registry.available().items() if not isinstance(backend, str)]
    for name in args.to or installed:
        frames, _, _ = convgru.registry.get(name).execute(weights, given / data.SCALE, steps=len(truth))
        print(f"{name}: error / persistence by lead time {np.round(skill.mse(frames * data.SCALE, truth) / still, 2)}")


if __name__ == "__main__":
    main()
