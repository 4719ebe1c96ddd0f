"""Training with Lightning: a ConvGRU in a LightningModule, whose Trainer runs the loop.

Blobs move, and the network says where they will be in the next frame. The module holds a PyTorch
ConvGRU as any other layer; loss, optimizer and validation are Lightning's usual methods. Lightning
writes a checkpoint after each epoch; convgru takes the network out of the best one by its name
(``prefix="rnn"``), ready for any framework. Needs ``pip install lightning``.

To change: ``blobs``, for a data set of your own; the layers in ``NextFrame``; ``Trainer``'s
``accelerator`` and ``devices`` for GPUs.
"""

import tempfile

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import convgru.torch

TIME, SIZE = 8, 16


def blobs(samples: int, seed: int) -> TensorDataset:
    """Draw sequences (N, T, 1, H, W) of one bright blob each, which moves in a straight line."""
    random = torch.Generator().manual_seed(seed)
    start, speed = torch.rand(2, samples, 1, 2, generator=random)
    centre = SIZE * (0.3 + 0.4 * start) + 2 * (speed - 0.5) * torch.arange(TIME)[:, None]
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    far = (y - centre[..., :1, None]) ** 2 + (x - centre[..., 1:, None]) ** 2
    return TensorDataset(torch.exp(-far / 4)[:, :, None])


class NextFrame(lightning.LightningModule):
    """Each frame from those before it."""

    def __init__(self, hidden: int = 12) -> None:
        super().__init__()
        self.rnn = convgru.torch.ConvGRU(1, hidden, kernel_size=5, batch_first=True)
        self.readout = nn.Conv2d(hidden, 1, 1)

    def forward(self, frames: Tensor) -> Tensor:
        y, _ = self.rnn(frames)
        return self.readout(y.flatten(0, 1)).unflatten(0, y.shape[:2])

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        (frames,) = batch
        return nn.functional.mse_loss(self(frames[:, :-1]), frames[:, 1:])

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        (frames,) = batch
        self.log("error", nn.functional.mse_loss(self(frames[:, :-1]), frames[:, 1:]))
        self.log("last frame", nn.functional.mse_loss(frames[:, :-1], frames[:, 1:]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 1e-2)


def main(epochs: int = 10, samples: int = 128, seed: int = 0) -> dict[str, float]:
    lightning.seed_everything(seed, verbose=False)
    net = NextFrame()
    training = DataLoader(blobs(samples, seed), batch_size=16, shuffle=True)
    validation = DataLoader(blobs(64, seed + 1), batch_size=64)
    with tempfile.TemporaryDirectory() as folder:
        best = ModelCheckpoint(folder, monitor="error")
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = lightning.Trainer(accelerator="cpu", max_epochs=epochs, callbacks=[best], **quiet)
        trainer.fit(net, training, validation)
        errors = {name: number.item() for name, number in trainer.callback_metrics.items()}
        weights = convgru.read(best.best_model_path, prefix="rnn")
    print(f"mean squared error of the next frame: {errors['error']:.5f}; of the last frame: {errors['last frame']:.5f}")
    print(f"from the checkpoint: {weights.spec}")
    return errors


if __name__ == "__main__":
    main()
