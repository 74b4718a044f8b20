"""Steps that need the libraries of the keras3 runtime."""
