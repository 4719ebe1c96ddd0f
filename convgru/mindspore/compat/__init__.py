"""Drop-ins: modules with the constructors, calls, checkpoints and numbers of older systems."""
