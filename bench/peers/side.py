#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""One side of a comparison: a process on cores of its own that works when told, by lines of text."""

import os
import statistics
import subprocess


class Side:
    """A process that runs steps when told."""

    def __init__(self, command, threads):
        env = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
        cores = sorted(os.sched_getaffinity(0))[:threads]
        self.seconds = []
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env=env,
                                        preexec_fn=lambda: os.sched_setaffinity(0, cores))

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = []
        while True:
            text = self.process.stdout.readline()
            if not text:
                raise RuntimeError("process ended: " + " ".join(self.process.args))
            if text.strip() == "done":
                return answer
            answer.append(text.strip())

    def run(self, n):
        times = [float(t) for t in self.ask(f"run {n}")]
        self.seconds += times
        return statistics.median(times)

    def memory(self):
        return int(self.ask("memory")[0])

    def close(self):
        self.process.stdin.close()
        self.process.wait()
