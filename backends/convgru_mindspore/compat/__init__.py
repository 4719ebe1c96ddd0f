"""Drop-ins for older systems: their parameters and calls; the canonical tensors are computed in
construct, and the core runs.
"""
