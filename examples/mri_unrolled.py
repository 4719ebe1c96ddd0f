"""MRI reconstruction: a ConvGRU in PyTorch between steps of data consistency.

A scanner measures an image's Fourier transform, and is quicker if it leaves lines out; with zeros
in their place the image is full of ghosts. An unrolled network repairs it in a few steps, each of
which lets a recurrent cell change the image, and then puts the measured numbers back in their place
in k-space (recurrent inference: Putzky and Welling 2017, arXiv:1706.04008; Qin et al. 2018,
arXiv:1712.01751). The images are made of ellipses, and measured by NumPy's FFT. Printed is the
error, relative to the image's energy, of the zero-filled image and after each step.

To change: ``scans``, for measurements of your own; ``iterations``; the cell in ``Unrolled``.
"""

import numpy as np
import torch
from torch import Tensor, nn

import convgru.torch

SIZE, LINES = 32, 0.3


def scans(rng: np.random.Generator, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw images (B, H, W), what is measured of their k-space, and where, (B, 1, W)."""
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    images = np.zeros((batch, SIZE, SIZE))
    for image in images:
        for size in (0.8, 0.5, 0.4, 0.3, 0.2, 0.15):
            top, left = rng.uniform(-0.6, 0.6, 2) * (0.85 - size)
            high, wide, angle, light = *rng.uniform(0.6, 1.1, 2) * size, rng.uniform(0, np.pi), rng.uniform(-0.4, 0.6)
            u = (x - left) * np.cos(angle) + (y - top) * np.sin(angle)
            v = (y - top) * np.cos(angle) - (x - left) * np.sin(angle)
            image += (light if size < 0.8 else 0.5) * ((u / wide) ** 2 + (v / high) ** 2 < 1)
    frequencies = abs(np.fft.fftfreq(SIZE, 1 / SIZE))
    sampled = (rng.random((batch, 1, SIZE)) < LINES) | (frequencies < 3)  # the low ones always
    measured = np.fft.fft2(images, norm="ortho") * sampled
    return torch.from_numpy(images).float(), torch.from_numpy(measured).to(torch.complex64), torch.from_numpy(sampled)


class Unrolled(nn.Module):
    """The image before and after each step, complex, (1 + iterations, B, H, W)."""

    def __init__(self, hidden: int = 24) -> None:
        super().__init__()
        self.gru = convgru.torch.ConvGRUCell(2, hidden, kernel_size=5, recurrent_kernel_size=3)
        self.change = nn.Conv2d(hidden, 2, 3, padding=1)

    def forward(self, measured: Tensor, sampled: Tensor, iterations: int = 6) -> Tensor:
        image, h, images = torch.fft.ifft2(measured, norm="ortho"), None, []
        images.append(image)
        for _ in range(iterations):
            h = self.gru(torch.stack([image.real, image.imag], dim=1), h)
            real, imaginary = self.change(h).unbind(1)
            guess = torch.fft.fft2(image + torch.complex(real, imaginary), norm="ortho")
            image = torch.fft.ifft2(torch.where(sampled, measured, guess), norm="ortho")  # data consistency
            images.append(image)
        return torch.stack(images)


def error(images: Tensor, truth: Tensor) -> Tensor:
    """Return the squared error over the image's energy, of each step."""
    return (images - truth).abs().square().sum((1, 2, 3)) / truth.square().sum()


def main(steps: int = 400, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    net = Unrolled()
    optimizer = torch.optim.Adam(net.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    for _ in range(steps):
        truth, measured, sampled = scans(rng, 4)
        loss = error(net(measured, sampled)[1:], truth).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()

    truth, measured, sampled = scans(np.random.default_rng(seed + 1), 32)  # which training has not seen
    with torch.no_grad():
        images = net(measured, sampled)
    errors = error(images, truth)
    left = (torch.fft.fft2(images[-1], norm="ortho") - measured)[sampled.expand_as(measured)].abs().max()
    print(f"{sampled.float().mean():.0%} of the lines measured; relative error, zero-filled and after each step")
    print(*(f"{number:.4f}" for number in errors))
    print(f"largest difference from what was measured: {left:.1g}")
    rows = {"truth": truth, "zero-filled": images[0].abs(), "unrolled ConvGRU": images[-1].abs()}
    picture = {name: frames[:6].numpy() for name, frames in rows.items()}
    return {"errors": errors.numpy(), "inconsistency": left.item(), "picture": picture}


if __name__ == "__main__":
    main()
