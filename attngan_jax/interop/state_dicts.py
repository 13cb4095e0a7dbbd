"""The original's state dicts to our variables and back, bit for bit, by the name tables."""

import collections
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from flax import traverse_util

from attngan_jax.errors import UserError
from attngan_jax.interop.name_tables import TABLES, Dimensions, Table
from attngan_jax.interop.weight_mapping import COUNTER, Row

# A collection of its own, since no module has it: BatchNorm's counts of batches, by the original's
# names. It is there only where they are not all 0, which is what its absence stands for. (In the
# files of 2018 PyTorch didn't count yet: there the collection is empty.)
COUNTERS = "num_batches_tracked"

_SHOWN = 3  # names of each kind that an error lists

# The first that fits a name that is wrong explains it. The keys are the config's.
_EXPLANATIONS = [
    (r"AuxLogits|fc\.", "these are torchvision's weights: pass them as image_encoder.weights"),
    (r"module\.", "it was saved from a DataParallel wrapper: save net.module.state_dict()"),
    (r".*residual\.", "another generator.num_residual_blocks (R_NUM)"),
    (r"h_net1\.upsample", "another generator.base_size"),
    (r"img_net\.", "another generator.single_image (B_DCGAN: kind generator_dcgan)"),
    (r"h_net1\.fc\.0", "another generator.z_dim (Z_DIM) or generator.gf_dim (GF_DIM)"),
    (
        r"ca_net|.*conv_context|emb_",
        "another text_encoder.embedding_dim (EMBEDDING_DIM) or generator.condition_dim",
    ),
    (r"h_net1|.*upsample", "another generator.gf_dim (GF_DIM)"),
    (r"h_net|img_net", "another generator.num_stages (BRANCH_NUM)"),
    (r"UNCOND", "another generator.single_image (B_DCGAN)"),
    (
        r"COND_DNET\.jointConv",
        "another discriminator.df_dim (DF_DIM) or text_encoder.embedding_dim (EMBEDDING_DIM)",
    ),
    (
        r"img_code|COND",
        "another discriminator.df_dim (DF_DIM), or the discriminator of another image size",
    ),
    (r"encoder", "another vocabulary or text_encoder.word_dim"),
    (r"rnn", "another text_encoder.embedding_dim (EMBEDDING_DIM) or text_encoder.rnn_type"),
    (r"cnn|Conv2d|Mixed", "another image_encoder.trunk"),
]


def dimensions_from_state_dict(kind: str, state_dict: Mapping[str, np.ndarray]) -> Dimensions:
    """The network's dimensions, read off its weights.

    Returns:
      For a generator `num_stages`, `base_size`, `gf_dim`, `z_dim`, `condition_dim`,
      `num_residual_blocks`, `embedding_dim`, `attention`; for a discriminator `image_size`,
      `df_dim`, `embedding_dim`, `unconditional`; for a text encoder `vocabulary_size`, `word_dim`,
      `embedding_dim`, `rnn_type`; for an image encoder `trunk`, `embedding_dim`,
      `local_features`, `pooled_features`, and for the trunk "cnn" `cnn_dim`, `cnn_blocks`.

    Raises:
      UserError: names are missing or surplus, or shapes contradict each other.
    """
    return _checked(kind, state_dict)[0]


def variables_from_state_dict(
    kind: str, state_dict: Mapping[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    """The original's weights as variables of our network.

    Args:
      kind: "generator", "generator_dcgan", "discriminator", "text_encoder" or "image_encoder".
      state_dict: the original's name -> array, in PyTorch's layouts.

    Returns:
      {"params", "batch_stats"}, nested dicts of NumPy arrays of the same dtypes; see `COUNTERS`
      for the one case in which there is more.

    Raises:
      UserError: names are missing or surplus, or shapes contradict each other.
    """
    return _variables(_checked(kind, state_dict)[1], state_dict)


def variables_from_rows(
    what: str, rows: Sequence[Row], state_dict: Mapping[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    """As `variables_from_state_dict`, by a table of the caller's; `what` names the network."""
    _check(what, rows, state_dict)
    return _variables(rows, state_dict)


def state_dict_from_variables(
    kind: str, variables: Mapping[str, Mapping[str, Any]]
) -> dict[str, np.ndarray]:
    """The inverse of `variables_from_state_dict`, in the order of the original's state_dict.

    Raises:
      UserError: the variables are not those of a network of this `kind`.
    """
    table = _table(kind)
    flat = traverse_util.flatten_dict(
        {collection: variables.get(collection, {}) for collection in ("params", "batch_stats")},
        sep="/",
    )
    counters = variables.get(COUNTERS)
    rows = table.rows(collections.defaultdict(int, table.counts(variables["params"])))
    _raise_misfit(
        f"variables of a {kind}",
        missing=[row.ours for row in rows if row.layout is not COUNTER and row.ours not in flat],
        surplus=set(flat) - {row.ours for row in rows},
    )
    state_dict = {}
    for row in rows:
        if row.layout is not COUNTER:
            state_dict[row.theirs] = _to_theirs(row, flat[row.ours])
        elif counters is None:
            state_dict[row.theirs] = np.zeros((), np.int64)
        elif row.theirs in counters:
            state_dict[row.theirs] = np.array(counters[row.theirs])
    _checked(kind, state_dict)
    return state_dict


def _table(kind: str) -> Table:
    if kind not in TABLES:
        raise UserError(f"there is no kind of network {kind!r}: choose one of {', '.join(TABLES)}")
    return TABLES[kind]


def _checked(kind: str, state_dict: Mapping[str, np.ndarray]) -> tuple[Dimensions, list[Row]]:
    """Dimensions and rows of a state_dict that has exactly these names and shapes."""
    table = _table(kind)
    shapes = {name: np.shape(array) for name, array in state_dict.items()}
    dimensions = table.dimensions(shapes)
    rows = table.rows(dimensions)
    _check(kind, rows, state_dict)
    return dimensions, rows


def _check(what: str, rows: Sequence[Row], state_dict: Mapping[str, np.ndarray]) -> None:
    """Raises a `UserError` unless names and shapes are exactly those of the rows."""
    shapes = {name: np.shape(array) for name, array in state_dict.items()}
    if not any(row.theirs in shapes for row in rows):
        raise UserError(
            f"not the state_dict of a {what}: it has no name of one, but "
            f"{_listed('names like', list(shapes)) or 'is empty'}: these are the "
            "weights of another network"
        )
    _raise_misfit(
        f"state_dict of a {what}",
        missing=[
            row.theirs for row in rows if row.theirs not in shapes and row.layout is not COUNTER
        ],
        surplus=set(shapes) - {row.theirs for row in rows},
        misshapen={
            row.theirs: f"{list(shapes[row.theirs])} instead of {list(row.shape)}"
            for row in rows
            if shapes.get(row.theirs, row.shape) != row.shape
        },
    )


def _variables(rows: Sequence[Row], state_dict: Mapping[str, np.ndarray]) -> dict:
    flat = {
        row.ours: _contiguous(row.layout.to_ours(np.asarray(state_dict[row.theirs])))
        for row in rows
        if row.layout is not COUNTER
    }
    variables = {"params": {}, "batch_stats": {}} | traverse_util.unflatten_dict(flat, sep="/")
    counters = [row.theirs for row in rows if row.layout is COUNTER]
    known = {name: np.array(state_dict[name]) for name in counters if name in state_dict}
    if len(known) < len(counters) or any(map(_is_counting, known.values())):
        variables[COUNTERS] = known
    return variables


def _raise_misfit(
    what: str, *, missing: Iterable[str], surplus: Iterable[str], misshapen: Mapping[str, str] = {}
) -> None:
    """Raises a `UserError` with the first few names of each sort, if there are any."""
    missing, surplus = list(missing), sorted(surplus)
    problems = [_listed("missing", missing), _listed("surplus", surplus)]
    if not missing:  # the shapes that are wanted could not be read off otherwise
        problems.append(_listed("misshapen", [f"{n} {s}" for n, s in misshapen.items()]))
    problems = [problem for problem in problems if problem]
    if not problems:
        return
    wrong = [*surplus, *missing, *misshapen]
    explanation = next(
        (
            text
            for pattern, text in _EXPLANATIONS
            if any(re.match(pattern, name) for name in wrong[:_SHOWN])
        ),
        "those of another network",
    )
    raise UserError(f"not the {what}: {'; '.join(problems)}; probably {explanation}")


def _listed(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{what} {', '.join(names[:_SHOWN])}{more}"


def _to_theirs(row: Row, array: Any) -> np.ndarray:
    array = np.asarray(array)
    try:
        return _contiguous(row.layout.to_theirs(array))
    except (ValueError, IndexError) as error:
        raise UserError(
            f"{row.ours} has the shape {list(array.shape)}, from which {row.theirs} "
            f"{list(row.shape)} can't be made"
        ) from error


def _is_counting(counter: np.ndarray) -> bool:
    return counter.dtype != np.int64 or counter.shape != () or bool(counter != 0)


def _contiguous(array: np.ndarray) -> np.ndarray:
    return np.array(array, order="C")
