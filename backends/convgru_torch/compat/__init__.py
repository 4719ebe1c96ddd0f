"""Drop-ins for older systems: their parameters and calls, on this library's loop and equations."""
