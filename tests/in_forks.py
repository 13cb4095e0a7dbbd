"""Runs commands of the package one after another, each in a fork of a process that has imported it.

Reads lines of JSON, `[module, [argument, ...], file for what it says]`; answers each with a line
of its process id and, when it has ended, one of its exit code.
"""

import json
import os
import runpy
import signal
import sys

import attngan_jax.conversion.export_run
import attngan_jax.conversion.import_run
import attngan_jax.experiment  # noqa: F401  (none of these starts JAX's devices)

for line in sys.stdin:
    module, arguments, file = json.loads(line)
    pid = os.fork()
    if not pid:
        output = os.open(file, os.O_CREAT | os.O_WRONLY)
        for standard in (1, 2):
            os.dup2(output, standard)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        sys.exit()
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
