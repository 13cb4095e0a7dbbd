"""The losses: pure functions of arrays, in float32.

Where a batch is spread over a mesh, `axis_name` names the axis. A loss is then such that its mean
over the devices (`jax.lax.pmean`) is the loss of the global batch, and so are its gradients.
"""
