"""Training with optax: a Flax ConvGRU in one jitted step, with a schedule and clipped gradients.

Pulses of light run along a line of pixels and pass behind a wall. The network sees the line with
the wall before it, and says where the light is all the same, which only a memory can know: it is a
one-dimensional ConvGRU (``ndim=1``) and a readout, Flax modules. From optax come AdamW, a learning
rate that rises and falls, and the clipping; ``nnx.jit`` makes one program of a whole step. The
error behind the wall stands beside that of the dark that is seen there.

To change: ``pulses``, for sequences of your own, (batch, time, *space, channels); the network in
``Model``; ``optimizer`` in ``main``.
"""

import jax
import numpy as np
import optax
from flax import nnx
from jax import numpy as jnp

import convgru
import convgru.flax

TIME, SIZE = 24, 40
WALL = slice(16, 26)


def pulses(rng: np.random.Generator, batch: int) -> tuple[jax.Array, jax.Array]:
    """Draw what is seen of two pulses, and where they are, (B, T, SIZE, 1)."""
    start, speed = rng.uniform(0, SIZE, (batch, 2, 1, 1)), rng.choice([-1.0, 1.0], (batch, 2, 1, 1))
    speed = speed * rng.uniform(0.8, 1.6, speed.shape)
    centre = (start + speed * np.arange(TIME)[:, None]) % SIZE
    far = abs(np.arange(SIZE) - centre)
    light = np.exp(-(np.minimum(far, SIZE - far) ** 2) / 2).sum(1)[..., None].astype("float32")
    seen = light.copy()
    seen[:, :, WALL] = 0
    return jnp.asarray(seen), jnp.asarray(light)


class Model(nnx.Module):
    """The light from what is seen, frame by frame."""

    def __init__(self, hidden: int, rngs: nnx.Rngs) -> None:
        self.rnn = convgru.flax.ConvGRU(1, hidden, kernel_size=5, ndim=1, rngs=rngs)
        self.readout = nnx.Linear(hidden, 1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        y, _ = self.rnn(x)
        return self.readout(y)


def loss_of(model: Model, seen: jax.Array, light: jax.Array) -> jax.Array:
    return ((model(seen) - light) ** 2).mean()


@nnx.jit
def train(model: Model, optimizer: nnx.Optimizer, seen: jax.Array, light: jax.Array) -> jax.Array:
    loss, gradients = nnx.value_and_grad(loss_of)(model, seen, light)
    optimizer.update(model, gradients)
    return loss


def main(steps: int = 400, hidden: int = 24, batch: int = 16, seed: int = 0) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    model = Model(hidden, nnx.Rngs(seed))
    rate = optax.warmup_cosine_decay_schedule(0.0, 1e-2, warmup_steps=steps // 10, decay_steps=steps)
    optimizer = nnx.Optimizer(model, optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate)), wrt=nnx.Param)
    for step in range(1, steps + 1):
        loss = train(model, optimizer, *pulses(rng, batch))
        if step % (steps // 4) == 0:
            print(f"step {step}: loss {loss:.4f}")

    model.eval()
    seen, light = pulses(np.random.default_rng(seed + 1), 64)  # which training has not seen
    behind = light[:, TIME // 2 :, WALL]  # in the second half: what was there at the beginning nobody knows
    errors = {
        "ConvGRU": float(((model(seen)[:, TIME // 2 :, WALL] - behind) ** 2).mean()),
        "dark": float((behind**2).mean()),
    }
    print("mean squared error behind the wall:", ", ".join(f"{name} {error:.4f}" for name, error in errors.items()))
    convgru.extract(model.rnn)  # a spec and NumPy arrays: convgru.write keeps them for any framework
    return errors


if __name__ == "__main__":
    main()
