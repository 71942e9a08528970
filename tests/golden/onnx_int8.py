#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A CNN in int8 as ONNX, in other runtimes, beside the blob of the same calibration.

onnx_int8.py KD FILE FOLDER [COUNT]      KD: the path of the kd binary; FILE: a network for CIFAR-10;
                                         FOLDER: cifar-10-batches-bin; COUNT: test pictures, 10000

The file passes onnx.checker, and its top-1 on the test pictures in onnxruntime, and in OpenVINO where
it is installed, is within .1 points of the blob's. Where an x86 processor has no instructions for dot
products of bytes (VNNI), both add pairs of products in 16 bits by default, which saturate: there
onnxruntime runs with session.x64quantprecision, and OpenVINO computes the rounded numbers in float.
"""
import csv
import json
import os
import subprocess
import sys
import tempfile

import numpy
import onnx
import onnxruntime

try:
    import openvino
except ImportError:
    openvino = None

POINTS = 0.1


def saturates():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            text = f.read()
    except OSError:
        return False
    return "avx2" in text and "vnni" not in text


def run(*arguments):
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)}: exit status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def pictures(folder, count):
    rows = numpy.fromfile(os.path.join(folder, "test_batch.bin"), numpy.uint8).reshape(-1, 3073)[:count]
    return rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0]


def normalised(path, pixels):
    about = {p.key: p.value for p in onnx.load(path).metadata_props}
    mean, std = (numpy.array(about[k].split(","), numpy.float32).reshape(1, -1, 1, 1)
                 for k in ("libkd.mean", "libkd.std"))
    return ((pixels.astype(numpy.float32) / 255 - mean) / std).astype(numpy.float32)


def with_onnxruntime(path, batches):
    options = onnxruntime.SessionOptions()
    if saturates():
        options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return numpy.concatenate([session.run(["logits"], {"input": x})[0] for x in batches])


def with_openvino(path, batches):
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", {"LP_TRANSFORMS_MODE": "NO"} if saturates() else {})
    return numpy.concatenate([list(compiled({"input": x}).values())[0] for x in batches])


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    kd, network, data = sys.argv[1:4]
    count = int(sys.argv[4]) if len(sys.argv) > 4 else 10000
    pixels, labels = pictures(data, count)
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        path, blob = os.path.join(folder, "m.onnx"), os.path.join(folder, "m.kde")
        told = os.path.join(folder, "p.csv")
        where = ["--data-dir", os.path.dirname(os.path.abspath(data))]
        run(kd, "export", network, "--onnx", path, "--edge", blob, "--dynamic-batch", "--int8",
            "--calibrate", "cifar-10", "--quiet", *where)
        onnx.checker.check_model(path, full_check=True)
        ours = json.loads(run(kd, "eval", blob, "--predictions", told, "--json", "--quiet", *where))
        with open(told, encoding="utf-8") as f:
            answers = numpy.array([int(row["class"]) for row in csv.DictReader(f)])[:count]
        top1 = 100 * (answers == labels).mean()
        print(f"{network}: {count} pictures; the blob {top1:.2f} % (all: {ours['top1']:.2f} %), "
              f"{os.path.getsize(path)} bytes of ONNX")
        x = normalised(path, pixels)
        batches = [x[i:i + 250] for i in range(0, count, 250)]
        for name, answer in [("onnxruntime", with_onnxruntime), ("OpenVINO", with_openvino)]:
            if name == "OpenVINO" and not openvino:
                continue
            got = answer(path, batches).argmax(1)
            theirs = 100 * (got == labels).mean()
            bad = abs(theirs - top1) > POINTS
            wrong += bad
            print(f"  {name:<12} {theirs:.2f} %, the same answer for {100 * (got == answers).mean():.2f} %"
                  + ("   TOO FAR" if bad else ""))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
