#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What kd export --onnx writes, by ONNX's own checker and in other runtimes.

onnx_models.py KD [--write] [FILE]...   KD: the path of the kd binary; FILE: networks beside the goldens

Every network of the goldens, and the models that are shipped, in opset 17 and 20, with a fixed batch
and any: the file passes onnx.checker (full_check, so shapes are inferred strictly); names and shapes
of the initialisers are those of the network's safetensors file; logits in onnxruntime, and in
OpenVINO where it is installed, are within 1e-4 of kd predict's; two exports are the same bytes.

Of what passed, onnx.txt has a line for each file of a golden: network, opset, batch (0: any), CRC-32 of
the graph's message, for tests without Python. Such a line that no longer holds is an error; --write
writes them anew.
"""
import filecmp
import os
import subprocess
import sys
import tempfile
import zlib

import numpy
import onnx
import onnxruntime
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

try:
    import openvino
except ImportError:
    openvino = None

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = ["deit_case", "swin_case", "swin_odd_case", "swin_rect_case", "swin_wide_case",
          "vgg11", "vgg16_bn", "vgg8_bn", "vgg8_bn_no_pool4", "vgg8_bn_rect",
          "vgg8_bn_stages", "vgg8_classes", "vit_case", "vit_odd_case"]
TOLERANCE = 1e-4
failures = 0


def run(*arguments):
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)}: exit status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def graph_bytes(path):
    """Field 7 of the model, as it stands in the file."""
    with open(path, "rb") as f:
        data = f.read()
    at = 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while True:
        key = number()
        size = number()
        if key == 7 << 3 | 2:
            return data[at:at + size]
        at += size if key & 7 == 2 else 0


def expect(what, truth):
    global failures
    if not truth:
        failures += 1
        print(f"  {what}   WRONG")


def names_and_shapes(network, model):
    """The file's tensors are the initialisers, but for the counters of batch norms."""
    with safe_open(network, "np") as f:
        wanted = {k: tuple(f.get_slice(k).get_shape()) for k in f.keys()
                  if not k.endswith("num_batches_tracked")}
    have = {t.name: tuple(t.dims) for t in model.graph.initializer}
    constants = {k for k in have if k.startswith("constants.")}
    expect("names of the initialisers", have.keys() - constants == wanted.keys())
    expect("their shapes", all(have[k] == wanted[k] for k in wanted))


def spec_of(network):
    """The goldens' specs are beside them; other files say it themselves."""
    expected = network.replace(".safetensors", "_expected.safetensors")
    if not os.path.exists(expected):
        return []
    with safe_open(expected, "np") as f:
        return ["--model", f.metadata()["spec"]]


def logits_of(kd, network, x, folder):
    given, out = os.path.join(folder, "x.safetensors"), os.path.join(folder, "y.safetensors")
    save_file({"input": x}, given)
    run(kd, "predict", network, given, out, *spec_of(network))
    return load_file(out)["logits"]


def with_onnxruntime(path, x):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"input": x})[0]


def with_openvino(path, x):
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return list(compiled({"input": x}).values())[0]


def check(kd, network, folder, sums):
    shown = os.path.basename(network)
    path, again = os.path.join(folder, "m.onnx"), os.path.join(folder, "again.onnx")
    for opset, batch in [("17", 1), ("17", 3), ("17", 0), ("20", 2), ("20", 0)]:
        words = spec_of(network) + ["--opset", opset] + (["--batch", str(batch)] if batch else ["--dynamic-batch"])
        run(kd, "export", network, "--onnx", path, *words)
        run(kd, "export", network, "--onnx", again, *words, "--threads", "1")
        expect("the same bytes", filecmp.cmp(path, again, shallow=False))
        onnx.checker.check_model(path, full_check=True)
        model = onnx.load(path)
        names_and_shapes(network, model)
        shape = [d.dim_value or d.dim_param for d in
                 model.graph.input[0].type.tensor_type.shape.dim]
        expect("the batch", shape[0] == (batch or "N"))
        x = numpy.random.default_rng(7).standard_normal([batch or 5] + shape[1:], numpy.float32)
        wanted = logits_of(kd, network, x, folder)
        errors = [abs(with_onnxruntime(path, x) - wanted).max()]
        if openvino:
            errors.append(abs(with_openvino(path, x) - wanted).max())
        if os.path.dirname(network) == HERE:
            sums.append(f"{shown[:-12]} {opset} {batch} {zlib.crc32(graph_bytes(path)):08x}\n")
        largest = abs(wanted).max()
        expect("logits", max(errors) <= TOLERANCE * max(1, largest))
        print(f"  {shown:<32} opset {opset} batch {batch or 'N'}  {len(model.graph.node):>4} nodes  apart by "
              + "  ".join(f"{e:.1e}" for e in errors) + f"  of {largest:.2f}")


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    models = os.path.join(HERE, "..", "..", "examples", "models")
    networks = [os.path.join(HERE, name + ".safetensors") for name in GOLDEN]
    networks += sorted(os.path.join(models, n) for n in os.listdir(models) if n.endswith(".safetensors"))
    print(f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}, "
          f"OpenVINO {openvino.__version__ if openvino else 'is not installed'}")
    sums, write = [], "--write" in sys.argv
    networks += [word for word in sys.argv[2:] if word != "--write"]
    with tempfile.TemporaryDirectory() as folder:
        for network in networks:
            check(sys.argv[1], network, folder, sums)
    path = os.path.join(HERE, "onnx.txt")
    if write and not failures:
        with open(path, "w", encoding="utf-8") as f:
            f.writelines(sums)
    with open(path, encoding="utf-8") as f:
        expect("sums of what is written", f.readlines() == sums)
    sys.exit(f"{failures} wrong" if failures else 0)


if __name__ == "__main__":
    main()
