"""The Flax NNX backend: modules that hold parameters and run the JAX backend's pure functions."""
