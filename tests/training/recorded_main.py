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

stages = []


def train(task, *arguments, original=loop.train, **keywords):
    """Notes which stage it is."""
    stages.append(task.name)
    return original(task, *arguments, **keywords)


def shard_batch(batch, mesh, original=parallel.shard_batch):
    """Writes down the share's records, if it is a batch of training."""
    if "number" not in batch:  # which evaluation adds
        with open(records, "a", encoding="utf-8") as file:
            file.write(json.dumps([stages[-1], batch["index"].tolist()]) + "\n")
        time.sleep(float(seconds) if stages[-1] == "attngan" else 0.0)
    return original(batch, mesh)


if __name__ == "__main__":
    loop.train, parallel.shard_batch = train, shard_batch
    _, records, seconds, *flags = sys.argv
    sys.argv = ["main", *flags]
    runpy.run_module("attngan_jax.main", run_name="__main__")
