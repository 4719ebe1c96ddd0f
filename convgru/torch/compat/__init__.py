"""Drop-in replacements for older systems: same constructors, calls, state dicts and numbers."""
