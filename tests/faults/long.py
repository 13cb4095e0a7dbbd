"""The long fault suite: whole tiny runs that are killed, damaged, starved and started twice.

python -m tests.faults.long FOLDER [--kills 20] [--flips 200] [--seed 0]     a table at the end
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time
import warnings

from absl import logging

from attngan_jax.training import digests
from attngan_jax.training.checkpoints import Checkpoints, set_aside_damaged
from tests import tiny_runs
from tests.faults import damage, killed, results

CHECKPOINTS = ["damsm/4", "attngan/2", "attngan/4"]  # newest, and one before
FILES = ("report/metrics.json", "report/index.html", "vocabulary.txt")
SIZE = 24 * 2**20  # of a small file system, which a run does not fit


class Suite:
    """Faults on copies of one undisturbed run; a row of the table for each kind of fault."""

    def __init__(self, folder: pathlib.Path, seed: int):
        self.folder, self.random = folder, random.Random(seed)
        self.table: list[tuple[str, int, int]] = []
        self.data, self.straight = folder / "data", folder / "straight"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.finish(self.straight)
        start = time.monotonic()
        self.finish(folder / "again")  # now that programs are compiled and data is there
        self.seconds = time.monotonic() - start
        assert self.problems(folder / "again") == [], "two undisturbed runs differ"
        print(f"an undisturbed run takes {self.seconds:.0f} s", flush=True)

    def command(self, workdir, *more, module="attngan_jax.main", before=()):
        flags = ["--config", tiny_runs.CONFIG, "--workdir", workdir]
        flags += [f"--config.data.data_dir={self.data}"]
        flags += [f"--config.compilation_cache_dir={tiny_runs.CACHE}", *more]
        return [sys.executable, "-m", *before, module, *map(str, flags)]

    def start(self, command) -> subprocess.Popen:
        environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
        pipes = dict(stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        return subprocess.Popen(command, cwd=tiny_runs.ROOT, env=environment, **pipes)

    def end(self, command) -> tuple[int, str]:
        process = self.start(command)
        _, said = process.communicate(timeout=900)
        return process.returncode, said

    def finish(self, workdir) -> str:
        """Runs to the end, which has to be a good one; returns what was said."""
        code, said = self.end(self.command(workdir))
        assert code == 0, said[-3000:]
        return said

    def problems(self, workdir) -> list[str]:
        """How a finished run differs from the undisturbed one."""
        found = results.differences(workdir, self.straight, CHECKPOINTS)
        found += [f"no {name}" for name in FILES if not (workdir / name).exists()]
        scores = [json.loads((run / FILES[0]).read_text()) for run in (workdir, self.straight)]
        for one in scores:
            del one["wall_seconds"]
        return found + ["other scores"] * (scores[0] != scores[1])

    def row(self, fault: str, good: list[bool]) -> None:
        self.table.append((fault, len(good), sum(good)))
        print(f"{fault}: {sum(good)} of {len(good)}", flush=True)

    def recovers(self, workdir) -> bool:
        self.finish(workdir)
        if found := self.problems(workdir):
            print(f"{workdir}: {found[:5]}", flush=True)
        else:
            shutil.rmtree(workdir)
        return not found

    def kills(self, count: int) -> None:
        """Half of them at random, half at chosen points."""
        points = list(killed.POINTS)
        good = []
        for number in range(count // 2):
            workdir = self.folder / f"killed_{number}"
            process = self.start(self.command(workdir))
            try:
                process.communicate(timeout=self.random.uniform(0.3, 1.0) * self.seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
            good.append(self.recovers(workdir))
        self.row("killed at random, bit-equal", good)
        good = []
        for number in range(count - count // 2):
            workdir = self.folder / f"killed_at_{number}"
            point = points[number % len(points)]
            at = 1 if "scores" in point else self.random.randrange(1, 5)
            before = ("tests.faults.killed", point, str(at))
            code, said = self.end(self.command(workdir, before=before))
            assert code == -9, (point, at, said[-2000:])
            good.append(self.recovers(workdir))
        self.row("killed at a chosen point, bit-equal", good)

    def damage(self) -> None:
        """Each file of the newest checkpoint of both stages, each way; and whole runs after it."""
        for stage in ("damsm", "attngan"):
            good = []
            one_before = results.arrays(self.straight / stage / "2")
            names = [f.relative_to(self.straight) for f in damage.files_of(self.straight, 4, stage)]
            for name in names:
                for way in damage.WAYS:
                    run = self.folder / "damaged"
                    damage.fresh_copy(self.straight / stage, run / stage)
                    way(run / name)
                    set_aside_damaged(run, stage)
                    left = Checkpoints.steps_in(run, stage)
                    arrays = results.arrays(run / stage / str(left[-1]))
                    same = (
                        one_before if left == [2] else results.arrays(self.straight / stage / "4")
                    )
                    good.append(all((arrays[key] == same[key]).all() for key in same))
            self.row(f"each of {len(names)} files of {stage}/4, five ways, set aside", good)
        good = []
        for stage in ("damsm", "attngan"):
            for way in damage.WAYS:
                workdir = damage.fresh_copy(self.straight, self.folder / f"{stage}_{way.__name__}")
                files = damage.files_of(workdir, 4, stage)
                way(max(files, key=lambda file: file.stat().st_size))
                good.append(self.recovers(workdir))
        self.row("damaged newest checkpoint, the run goes on, bit-equal", good)
        good = []
        for name in ("vocabulary.txt", "metrics.jsonl", "wall_seconds.json", "config.json"):
            workdir = damage.fresh_copy(self.straight, self.folder / f"without_{name}")
            shutil.rmtree(workdir / "attngan/4")
            if name == "metrics.jsonl":
                with (workdir / name).open("ab") as file:
                    file.write(b'{"step": 4, "sta')
            else:
                (damage.remove if name == "config.json" else damage.cut)(workdir / name)
            good.append(self.recovers(workdir))
        self.row("other files of a workdir, bit-equal", good)

    def flips(self, count: int) -> None:
        """Bits of the newest checkpoint: what isn't noticed has to read the same."""
        run = damage.fresh_copy(self.straight / "attngan", self.folder / "flips/attngan").parent
        want, good = results.arrays(run / "attngan/4"), []
        files = damage.files_of(run, 4, "attngan")
        for path, bit in damage.random_bits(files, count, self.random.randrange(2**30)):
            damage.flip(path, bit)
            if noticed := bool(digests.find_damage(run / "attngan/4")):
                good.append(noticed)
            else:
                arrays = results.arrays(run / "attngan/4")
                good.append(all((arrays[key] == want[key]).all() for key in want))
            damage.flip(path, bit)
        self.row("flipped bits, none trained on", good)

    def records(self) -> None:
        """Flipped bits in the records: built again, with the same numbers."""
        good = []
        for split in ("train", "test"):
            (path,) = self.data.rglob(f"*{split}.array_record*")
            damage.flip(path)
            workdir = self.folder / f"records_{split}"
            good.append(self.recovers(workdir))
        self.row("damaged records, built again, bit-equal", good)

    def full_disk(self) -> None:
        """On a file system that is too small, and then is not."""
        place = self.folder / "small"
        place.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE // 2**10}k", "tmpfs", str(place)]
        if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
            print("full disk: left out, for nothing may be mounted here", flush=True)
            return
        try:
            filler = place / "filler"
            filler.write_bytes(bytes(SIZE - 2**20))  # 1 MiB is left
            code, said = self.end(self.command(place / "run"))
            one_line = code == 1 and "Traceback" not in said and "disk is full" in said
            filler.unlink()
            code, said = self.end(self.command(place / "run"))
            good = code == 0 and not self.problems(place / "run")
            self.row("full disk: one line, then bit-equal", [one_line and good])
        finally:
            subprocess.run(["umount", str(place)], check=False)

    def two_at_once(self) -> None:
        """The second start ends with one line, the first is untouched."""
        workdir = self.folder / "two"
        first = self.start(self.command(workdir))
        while not (workdir / "lock.json").exists() and first.poll() is None:
            time.sleep(0.2)
        code, said = self.end(self.command(workdir))
        refused = code == 1 and "is being trained by process" in said and "Traceback" not in said
        first.communicate()
        good = first.returncode == 0 and not self.problems(workdir)
        self.row("the same command twice at once", [refused and good])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    for name, default in (("--kills", 20), ("--flips", 200), ("--seed", 0)):
        parser.add_argument(name, type=int, default=default)
    given = parser.parse_args()
    logging.set_verbosity(logging.ERROR)  # of the checkpoints that are set aside
    warnings.simplefilter("ignore")  # Orbax's, of arrays that are read as they are on disk
    start = time.monotonic()
    suite = Suite(given.folder.absolute() / "faults", given.seed)
    suite.damage()
    suite.flips(given.flips)
    suite.two_at_once()
    suite.full_disk()
    suite.kills(given.kills)
    suite.records()
    print(f"\n{'fault':64}{'tried':>8}{'right':>8}")
    for fault, tried, good in suite.table:
        print(f"{fault:64}{tried:8}{good:8}")
    print(f"{(time.monotonic() - start) / 60:.0f} minutes")
    sys.exit(any(tried != good for _, tried, good in suite.table))


if __name__ == "__main__":
    main()
