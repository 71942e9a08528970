#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Files between libkd and Python's safetensors.

make OUT       write the reference file with the reference implementation
header         the same bytes as a C array on standard output (tests/file/reference_file.h)
same A B       compare names, types, shapes, bytes and metadata of two files, read in Python
"""
import sys

import torch
from safetensors import deserialize, safe_open
from safetensors.torch import save


def reference():
    """One tensor of each of the common types; values that show a wrong byte order or shape."""
    def tensor(dtype, shape, values):
        return torch.tensor(values, dtype=dtype).reshape(shape)

    return save({
        "features.0.weight": tensor(torch.float32, [2, 3], [1, -2, 0.5, 1e-40, 3e38, float("inf")]),
        "half": tensor(torch.float16, [3], [1.5, -65504, 6e-8]),
        "brain": tensor(torch.bfloat16, [2, 1], [1.5, -123.5]),
        "steps": tensor(torch.int64, [], -(2**40)),
        "labels": tensor(torch.int32, [2, 2], [1, -2, 3, -(2**31)]),
        "bytes": tensor(torch.uint8, [5], [0, 1, 127, 128, 255]),
        "double": tensor(torch.float64, [2], [0.1, -1e300]),
        "mask": tensor(torch.bool, [2], [False, True]),
        "empty": tensor(torch.float32, [0, 7], []),
        "Größe \"\\\n\u0001\U0001F600": tensor(torch.int16, [1], [-300]),
    }, {"format": "pt"})


def load(path):
    with open(path, "rb") as f:
        tensors = deserialize(f.read())
    with safe_open(path, "numpy") as f:
        metadata = f.metadata() or {}
    return {n: (t["dtype"], tuple(t["shape"]), bytes(t["data"])) for n, t in tensors}, metadata


def main(argv):
    if len(argv) == 3 and argv[1] == "make":
        with open(argv[2], "wb") as f:
            f.write(reference())
    elif len(argv) == 2 and argv[1] == "header":
        data = reference()
        print("/* SPDX-License-" "Identifier: MIT")
        print(" * reference.h: a file made by the format's reference implementation")
        print(" * (tests/golden/safetensors_roundtrip.py header). */")
        print(f"static const unsigned char reference[{len(data)}] = {{")
        for i in range(0, len(data), 16):
            print("    " + ", ".join(f"0x{b:02x}" for b in data[i:i + 16]) + ",")
        print("};")
    elif len(argv) == 4 and argv[1] == "same":
        a, b = load(argv[2]), load(argv[3])
        if a != b:
            sys.exit(f"{argv[2]} and {argv[3]} differ")
        print(f"{len(a[0])} tensors and {len(a[1])} metadata entries are the same")
    else:
        sys.exit(__doc__)


main(sys.argv)
