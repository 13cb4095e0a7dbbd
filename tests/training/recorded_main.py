"""`python -m attngan_jax.main`, which also writes down the records of every training batch.

    python -m tests.training.recorded_main RECORDS SECONDS FLAG...

RECORDS gets a JSON line for each batch: this process's share of it. SECONDS pass before each batch
of stage 2, so that there is time to stop it.
"""

import json
import runpy
import sys
import time

from attngan_jax.training import parallel

records, seconds = sys.argv[1], float(sys.argv[2])
original = parallel.shard_batch


def shard_batch(batch, mesh):
    """Writes down the share's records, if it is a batch of training."""
    if "number" not in batch:  # which evaluation adds
        stage = "damsm" if sum(name.startswith("image_") for name in batch) == 1 else "attngan"
        with open(records, "a", encoding="utf-8") as file:
            file.write(json.dumps([stage, batch["index"].tolist()]) + "\n")
        if stage == "attngan":
            time.sleep(seconds)
    return original(batch, mesh)


if __name__ == "__main__":
    parallel.shard_batch = shard_batch
    sys.argv = ["main", *sys.argv[3:]]
    runpy.run_module("attngan_jax.main", run_name="__main__")
