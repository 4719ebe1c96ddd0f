"""Read and write the file formats of convgru and of others: safetensors, npz, Keras, HDF5."""
