"""Moving digits: a ConvLSTM forecaster in PyTorch learns what comes next.

Two digits drift through each other and bounce off the walls, as in Moving MNIST (Srivastava et al.
2015, arXiv:1502.04681), but drawn from the small font below: nothing is downloaded. The network
reads six frames and predicts six, feeding on its own predictions. Beside its error stand those of
two rivals who know nothing of motion: the last frame again, and an empty one.

To change: ``digits``, for frames of your own, (time, batch, channels, height, width) with values
of about 0 to 1; the network in ``main``; ``steps``.
"""

import numpy as np
import torch

import convgru.torch

FONT = "75557 26227 71747 71717 55711 74717 74757 71111 75757 75717"  # octal: five rows of three bits
GLYPHS = np.array([[[int(row) >> bit & 1 for bit in (2, 1, 0)] for row in digit] for digit in FONT.split()], "float32")
GLYPHS = GLYPHS.repeat(2, axis=1).repeat(2, axis=2)  # ten digits of 10 x 6 pixels
GIVEN, AHEAD, SIZE = 6, 6, 32


def digits(rng: np.random.Generator, batch: int, time: int = GIVEN + AHEAD) -> torch.Tensor:
    """Draw frames (T, B, 1, H, W) of two digits that move in straight lines and bounce."""
    frames = np.zeros((time, batch, 1, SIZE, SIZE), "float32")
    height, width = GLYPHS.shape[1:]
    room = np.array([SIZE - height, SIZE - width])
    for sample in range(batch):
        for _ in range(2):
            glyph, start, speed = GLYPHS[rng.integers(10)], rng.integers(0, room + 1), rng.integers(-2, 3, 2)
            for t in range(time):
                # A path that bounces is a straight one, folded at the walls.
                top, left = room - abs((start + speed * t) % (2 * room) - room)
                place = frames[t, sample, 0, top : top + height, left : left + width]
                np.maximum(place, glyph, out=place)
    return torch.from_numpy(frames)


def main(steps: int = 800, batch: int = 8, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    # patch=2: the network works on pixels two by two, four times quicker. residual=False: it
    # predicts the frame, not its change, for all of a digit that moves on is change.
    net = convgru.torch.Forecaster("lstm", 1, 48, kernel_size=3, patch=2, residual=False)
    optimizer = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    for _ in range(steps):
        frames = digits(rng, batch)
        predicted, _ = net(frames[:GIVEN], steps=AHEAD)
        loss = torch.nn.functional.mse_loss(predicted, frames[GIVEN:])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()

    frames = digits(np.random.default_rng(seed + 1), 64)  # which training has not seen
    given, truth = frames[:GIVEN], frames[GIVEN:]
    with torch.no_grad():
        forecast, _ = net(given, steps=AHEAD)
    rivals = {"ConvLSTM": forecast, "last frame": given[-1].expand_as(truth), "empty frame": torch.zeros_like(truth)}
    errors = {name: (frames - truth).square().mean((1, 2, 3, 4)).numpy() for name, frames in rivals.items()}
    print("mean squared error, 1 to 6 frames ahead")
    for name, error in errors.items():
        print(f"{name:12}", *(f"{number:.4f}" for number in error))
    rows = {"given": given, "what came": truth, "ConvLSTM": forecast}
    return {"errors": errors, "picture": {name: frames[:, 0, 0].numpy() for name, frames in rows.items()}}


if __name__ == "__main__":
    main()
