"""The released code's state dicts to our variables and back, bit for bit, by the name tables."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax import traverse_util

from attngan_jax.errors import UserError
from attngan_jax.interop.name_tables import TABLES, Dimensions, Row, Table, counts

# A collection of its own, since no module has it: BatchNorm's counts of batches, by PyTorch's
# names, if they are not all 0. (In 2018's files PyTorch didn't count yet: there it is empty.)
COUNTERS = "num_batches_tracked"

StateDict = Mapping[str, np.ndarray]
Variables = dict[str, dict[str, Any]]

_SHOWN = 3  # names of each kind that an error lists
_DF_DIM = "discriminator.df_dim (DF_DIM)"
_EMBEDDING = "text_encoder.embedding_dim (EMBEDDING_DIM)"
# Pattern of a wrong name -> what probably causes it, by config keys. The first match is shown.
_CAUSES = [
    (r"AuxLogits|fc\.", "these are torchvision's weights: pass them as image_encoder.weights"),
    (r"module\.", "it was saved from a DataParallel wrapper: save net.module.state_dict()"),
    (r".*residual\.", "another generator.num_residual_blocks (R_NUM)"),
    (r"h_net1\.upsample", "another generator.base_size"),
    (r"img_net\.", "another generator.single_image (B_DCGAN: kind generator_dcgan)"),
    (r"h_net1\.fc\.0", "another generator.z_dim (Z_DIM) or generator.gf_dim (GF_DIM)"),
    (r"ca_net|.*conv_context|emb_", f"another {_EMBEDDING} or generator.condition_dim"),
    (r"h_net1|.*upsample", "another generator.gf_dim (GF_DIM)"),
    (r"h_net|img_net", "another generator.num_stages (BRANCH_NUM)"),
    (r"UNCOND", "another generator.single_image (B_DCGAN)"),
    (r"COND_DNET\.jointConv", f"another {_DF_DIM} or {_EMBEDDING}"),
    (r"img_code|COND", f"another {_DF_DIM}, or the discriminator of another image size"),
    (r"encoder", "another vocabulary or text_encoder.word_dim"),
    (r"rnn", f"another {_EMBEDDING} or text_encoder.rnn_type"),
    (r"cnn|Conv2d|Mixed", "another image_encoder.trunk"),
]


def dimensions_from_state_dict(kind: str, state_dict: StateDict) -> Dimensions:
    """The network's dimensions, read off its weights.

    Raises `UserError` if names are missing or surplus, or shapes contradict each other.
    """
    dimensions = _table(kind).dimensions(state_dict)
    _check(kind, TABLES[kind].rows(dimensions), state_dict)
    return dimensions


def variables_from_state_dict(kind: str, state_dict: StateDict) -> Variables:
    """The released code's weights, by name in PyTorch's layouts, as variables of our network.

    Returns {"params", "batch_stats"}, nested dicts of NumPy arrays of the same dtypes, and in one
    case `COUNTERS`. Raises as `dimensions_from_state_dict` does.
    """
    rows = _table(kind).rows(dimensions_from_state_dict(kind, state_dict))
    return variables_from_rows(kind, rows, state_dict)


def variables_from_rows(what: str, rows: Sequence[Row], state_dict: StateDict) -> Variables:
    """As `variables_from_state_dict`, by a table of the caller's; `what` names the network."""
    _check(what, rows, state_dict)
    flat = {}
    for row in filter(lambda row: row.flax, rows):
        array = row.layout.to_flax(np.asarray(state_dict[row.pt]))
        flat[row.flax] = np.array(array, order="C")
    variables = {"params": {}, "batch_stats": {}} | traverse_util.unflatten_dict(flat, sep="/")
    counters = [row.pt for row in rows if not row.flax]
    known = {name: np.array(state_dict[name]) for name in counters if name in state_dict}
    zeros = [c for c in known.values() if c.dtype == np.int64 and not c.shape and c == 0]
    if len(zeros) < len(counters):
        variables[COUNTERS] = known
    return variables


def state_dict_from_variables(kind: str, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The inverse of `variables_from_state_dict`, in the order of the released code's state_dict.

    Raises `UserError` for variables that are not those of a network of this `kind`.
    """
    networks = {name: variables.get(name, {}) for name in ("params", "batch_stats")}
    flat = traverse_util.flatten_dict(networks, sep="/")
    rows = _table(kind).rows(defaultdict(int, counts(variables["params"])))
    wanted = {row.flax: None for row in rows if row.flax}
    _raise_misfit(f"variables of a {kind}", wanted, dict.fromkeys(flat))
    zeros = {row.pt: np.zeros((), np.int64) for row in rows if not row.flax}
    counters = variables.get(COUNTERS, zeros)
    state_dict = {}
    try:
        for row in rows:
            if row.flax:
                array = np.asarray(flat[row.flax])
                state_dict[row.pt] = np.array(row.layout.to_pt(array), order="C")
            elif row.pt in counters:
                state_dict[row.pt] = np.array(counters[row.pt])
    except (ValueError, IndexError) as error:
        shape = f"has the shape {list(array.shape)}"
        raise UserError(f"{row.flax} {shape}, from which {row.pt} can't be made") from error
    dimensions_from_state_dict(kind, state_dict)  # checks the shapes
    return state_dict


def _table(kind: str) -> Table:
    if kind not in TABLES:
        raise UserError(f"there is no kind of network {kind!r}: choose one of {', '.join(TABLES)}")
    return TABLES[kind]


def _check(what: str, rows: Sequence[Row], state_dict: StateDict) -> None:
    """Raises a `UserError` unless names and shapes are exactly those of the rows."""
    shapes = {name: np.shape(array) for name, array in state_dict.items()}
    wanted = {row.pt: row.shape for row in rows if row.flax or row.pt in shapes}
    if not wanted.keys() & shapes.keys():
        names = _listed("names like", list(shapes)) or "is empty"
        why = f"it has no name of one, but {names}: these are the weights of another network"
        raise UserError(f"not the state_dict of a {what}: {why}")
    _raise_misfit(f"state_dict of a {what}", wanted, shapes)


def _raise_misfit(what: str, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Raises a `UserError` with the first few names of each sort, unless shapes are as wanted."""
    missing = [name for name in wanted if name not in found]
    surplus = sorted(found.keys() - wanted.keys())
    differing = [name for name in wanted if name in found and found[name] != wanted[name]]
    misshapen = [f"{n} {list(found[n])} instead of {list(wanted[n])}" for n in differing]
    problems = [_listed("missing", missing), _listed("surplus", surplus)]
    if not missing:  # the shapes that are wanted could not be read off otherwise
        problems.append(_listed("misshapen", misshapen))
    if any(problems):
        wrong = [*surplus, *missing, *misshapen][:_SHOWN]
        causes = [text for pattern, text in _CAUSES for name in wrong if re.match(pattern, name)]
        cause = (causes + ["those of another network"])[0]
        raise UserError(f"not the {what}: {'; '.join(filter(None, problems))}; probably {cause}")


def _listed(what: str, names: list[str]) -> str:
    """The first few names; "" if there are none."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{what} {', '.join(names[:_SHOWN])}{more}" if names else ""
