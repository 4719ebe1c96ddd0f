"""convgru on JAX: pure functions over a spec and a flat dict of canonical arrays."""
