"""The networks, in Flax Linen: constructor fields and arrays in, arrays out.

They import no config and compute no loss. Parameters are float32; `dtype` is what they compute in.
`axis_name` is the mesh axis over which BatchNorm takes its statistics in training.
"""
