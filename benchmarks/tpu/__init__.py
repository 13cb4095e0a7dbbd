"""Reading a compiled TPU program: arrays, memory traffic, exchanges."""
