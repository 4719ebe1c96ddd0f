"""Drop-ins: modules with the constructors, calls, state dicts and numbers of older systems, on this
library's core.
"""
