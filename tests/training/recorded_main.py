"""`python -m attngan_jax.main`, which also writes down the records of every training batch.

    python -m tests.training.recorded_main RECORDS SECONDS FLAG...

RECORDS gets a JSON line for each batch: this process's share of it. SECONDS pass before each batch
of stage 2, so that there is time to stop it.
"""

import json
import runpy
import sys
import time

from attngan_jax.training import loop, parallel

records, seconds = sys.argv[1], float(sys.argv[2])
originals = {"train": loop.train, "shard_batch": parallel.shard_batch}
stages = []


def train(task, *arguments, **keywords):
    """Notes which stage it is."""
    stages.append(task.name)
    return originals["train"](task, *arguments, **keywords)


def shard_batch(batch, mesh):
    """Writes down the share's records, if it is a batch of training."""
    if "number" not in batch:  # which evaluation adds
        with open(records, "a", encoding="utf-8") as file:
            file.write(json.dumps([stages[-1], batch["index"].tolist()]) + "\n")
        if stages[-1] == "attngan":
            time.sleep(seconds)
    return originals["shard_batch"](batch, mesh)


if __name__ == "__main__":
    loop.train, parallel.shard_batch = train, shard_batch
    sys.argv = ["main", *sys.argv[3:]]
    runpy.run_module("attngan_jax.main", run_name="__main__")
