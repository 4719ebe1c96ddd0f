"""Drop-ins for older systems: their parameters and calls; the canonical tensors are computed in forward, and the core runs."""
