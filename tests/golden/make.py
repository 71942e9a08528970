#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Make the golden files (requirements.txt says with what).

make.py [ops|models|timm|taps|train|runs|adamw|pictures]...   write what has changed
make.py --check                 only say whether the files are what this would write, with one thread
                                and with all
"""
import sys

import torch

import adamw
import golden
import models
import ops
import pictures
import runs
import taps
import timm_models
import train

MAKERS = {"ops": ops.make, "models": models.make, "timm": timm_models.make, "taps": taps.make,
           "train": train.make, "runs": runs.make, "adamw": adamw.make,
          "pictures": pictures.make}


def main(arguments):
    check = "--check" in arguments
    wanted = [a for a in arguments if a != "--check"] or list(MAKERS)
    if any(w not in MAKERS for w in wanted):
        sys.exit(__doc__)
    good = True
    for threads in [torch.get_num_threads(), 1] if check else [1]:
        torch.set_num_threads(threads)
        print(f"threads: {threads}")
        for w in wanted:
            for name, content in MAKERS[w]().items():
                good &= golden.store(name, content, check)
    sys.exit(0 if good else 1)


main(sys.argv[1:])
