"""convgru: convolutional recurrent networks, defined once, native in PyTorch, JAX, Flax and MindSpore."""
