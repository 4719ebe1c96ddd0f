"""A Keras checkpoint to JAX and back: convert, go on training, return it to the model.

A Keras model with a ConvLSTM2D layer is saved as ``.keras``. convgru takes the layer out of the
file by its name, with its options, and makes it a pure function of JAX, whose numbers are the same.
There it is trained a little. The trained weights go back to their place in the Keras model, which
then computes what JAX does.

To change: ``model``, for ``keras.saving.load_model`` of your own, and the name of the layer. Keras
runs here on whatever backend ``KERAS_BACKEND`` names.
"""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")  # before Keras is imported

import jax
import keras
import numpy as np
from jax import numpy as jnp

import convgru
import convgru.jax


def make_model() -> keras.Model:
    """Make a model of two layers, with random weights."""
    return keras.Sequential(
        [
            keras.Input((None, 16, 16, 2)),
            keras.layers.ConvLSTM2D(8, 3, padding="same", return_sequences=True, name="encoder"),
            keras.layers.Conv3D(1, 1, name="head"),
        ]
    )


def in_keras(model: keras.Model, x: np.ndarray) -> np.ndarray:
    """Return what the layer answers in Keras."""
    return np.asarray(keras.ops.convert_to_numpy(model.get_layer("encoder")(x)))


def main(steps: int = 20, seed: int = 0) -> dict[str, float]:
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, 6, 16, 16, 2)).astype("float32")  # (B, T, H, W, C)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        model = make_model()
        model.save(path)

        weights = convgru.read(path, prefix="encoder")
        spec, params = convgru.build(weights, "jax")
        print(spec)

        @jax.jit
        def layer(params: dict, x: jax.Array) -> jax.Array:
            return convgru.jax.apply(spec, params, x, time_major=False)[0]

        results = {"as read": float(abs(in_keras(model, x) - layer(params, x)).max())}

        @jax.jit
        def train(params: dict, x: jax.Array) -> tuple[dict, jax.Array]:
            """Take a step of gradient descent: the output is to be the mean of the channels."""

            def loss_of(params: dict) -> jax.Array:
                return ((layer(params, x) - jnp.tanh(x.mean(-1, keepdims=True))) ** 2).mean()

            loss, gradients = jax.value_and_grad(loss_of)(params)
            return jax.tree.map(lambda p, g: p - 2.0 * g, params, gradients), loss

        losses = []
        for _ in range(steps):
            params, loss = train(params, x)
            losses.append(float(loss))
        results["trained in JAX, not in Keras yet"] = float(abs(in_keras(model, x) - layer(params, x)).max())

        (found,) = convgru.inspect(path, prefix="encoder").networks
        back = Path(folder, "encoder.weights.h5")
        convgru.write(convgru.extract((spec, params)), back, layout="keras", prefix=found.stored_at)
        model.load_weights(back, skip_mismatch=True)  # other layers stay as they are, and Keras warns of it
        results["given back to Keras"] = float(abs(in_keras(model, x) - layer(params, x)).max())
    results |= {"loss in JAX, before": losses[0], "loss in JAX, after": losses[-1]}
    print("largest difference between Keras and JAX:")
    for name, value in results.items():
        print(f"{name:33} {value:.2g}")
    return results


if __name__ == "__main__":
    main()
