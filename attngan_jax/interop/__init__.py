"""The released code's weights and metadata: safe readers, name tables, both directions."""

from attngan_jax.interop.state_dict_files import read_state_dict, write_safetensors
from attngan_jax.interop.state_dicts import (
    dimensions_from_state_dict,
    state_dict_from_variables,
    variables_from_state_dict,
)

__all__ = [
    "dimensions_from_state_dict",
    "read_state_dict",
    "state_dict_from_variables",
    "variables_from_state_dict",
    "write_safetensors",
]
