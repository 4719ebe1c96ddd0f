"""Drop-ins for older systems: their parameters, names and calls on this library's core."""
