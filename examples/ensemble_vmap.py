"""An ensemble by vmap: networks trained side by side in JAX, and what their spread tells.

``jax.vmap`` over the parameters makes an ensemble of a network: initial values, training steps and
forecasts of all members are one program each. Every member begins with other weights and sees other
samples. The mean of their forecasts errs less than a member does; and where members disagree, they
are wrong: the spread is small for waves such as training had, and large for faster ones.

To change: ``waves``, for frames of your own, (time, batch, *space, channels); ``members``;
``SPEC``, any network or forecaster. In PyTorch ``torch.func.stack_module_state`` and
``torch.func.vmap`` do the same.
"""

import jax
import optax
from jax import numpy as jnp

import convgru
import convgru.jax

GIVEN, AHEAD, SIZE = 6, 6, 24
SPEC = convgru.forecaster("gru", channels=1, hidden_channels=12, kernel_size=5, ndim=1)
ADAM = optax.adam(5e-3)


def waves(key: jax.Array, batch: int, slow: float = 0.0, fast: float = 1.0) -> jax.Array:
    """Draw frames (T, B, SIZE, 1) of waves that run at ``slow`` to ``fast`` pixels a frame."""
    phase, speed, length, sign = jax.random.uniform(key, (4, batch, 1))
    speed, length = jnp.sign(sign - 0.5) * (slow + (fast - slow) * speed), 8 + 8 * length
    places = jnp.arange(SIZE) - speed * jnp.arange(GIVEN + AHEAD)[:, None, None]
    return jnp.sin(2 * jnp.pi * (places / length + phase))[..., None]


def forecast(params: dict, frames: jax.Array) -> jax.Array:
    return convgru.jax.forecast(SPEC, params, frames[:GIVEN], AHEAD)[0]


def loss_of(params: dict, frames: jax.Array) -> jax.Array:
    return ((forecast(params, frames) - frames[GIVEN:]) ** 2).mean()


@jax.jit
@jax.vmap
def train(params: dict, moments: optax.OptState, key: jax.Array) -> tuple:
    """Take one step, each member on a batch of its own."""
    loss, gradients = jax.value_and_grad(loss_of)(params, waves(key, 8))
    updates, moments = ADAM.update(gradients, moments)
    return optax.apply_updates(params, updates), moments, loss


@jax.jit
def members_forecasts(params: dict, frames: jax.Array) -> jax.Array:
    """Return what each member forecasts of the same frames, (members, AHEAD, B, SIZE, 1)."""
    return jax.vmap(forecast, (0, None))(params, frames)


def main(steps: int = 300, members: int = 8, seed: int = 0) -> dict[str, dict[str, float]]:
    first, second, third = jax.random.split(jax.random.key(seed), 3)
    params = jax.vmap(lambda key: convgru.jax.init(SPEC, key))(jax.random.split(first, members))
    moments = jax.vmap(ADAM.init)(params)
    for step in range(steps):
        keys = jax.random.split(jax.random.fold_in(second, step), members)
        params, moments, _ = train(params, moments, keys)

    results = {}
    for name, speeds in {"as in training": (0.0, 1.0), "faster": (1.5, 2.5)}.items():
        frames = waves(third, 64, *speeds)
        forecasts, truth = members_forecasts(params, frames), frames[GIVEN:]
        results[name] = {
            "error of a member": float(((forecasts - truth) ** 2).mean()),
            "error of their mean": float(((forecasts.mean(0) - truth) ** 2).mean()),
            "spread": float(forecasts.var(0).mean()),  # for squared errors exactly the difference
        }
        print(f"waves {name}:", ", ".join(f"{what} {number:.4f}" for what, number in results[name].items()))

    first = {name: array[0] for name, array in params.items()}  # a member by itself, for convgru.write
    print(f"{members} members of {convgru.extract((SPEC, first)).spec}")
    return results


if __name__ == "__main__":
    main()
