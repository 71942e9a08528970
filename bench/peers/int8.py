#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Networks in int8 on this machine, batch 1, one thread: a .kde as libkd runs it, against onnxruntime and
OpenVINO on the same network, folded and quantised by onnxruntime (QDQ, uint8 activations, a scale for each
channel of the weights), LiteRT (int8 with our export's scales), and our own float network.

int8.py --kd build/bin/kd --lib build/lib/libkd.so NETWORK.safetensors [--data-dir DIR --data cifar-10]

They take turns in one process, round after round; what is compared is the median of all runs, the spread is
that of the ratio round by round. Before anything is timed, their logits must be those of the float network
but for rounding. Needs numpy, safetensors, onnx, onnxruntime; openvino and ai-edge-litert are left out where they are missing."""

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import tempfile
import time

import numpy
from safetensors import safe_open

ROUNDS, RUNS = 15, 20


def run(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


# ---- ours ---------------------------------------------------------------------------------------------


class Blob:
    """A .kde, through the library's interface: a quarter of kd_edge_model is read here, by its offsets."""

    def __init__(self, lib, path):
        self.lib = ctypes.CDLL(lib)
        self.data = numpy.fromfile(path, dtype=numpy.uint8)
        self.room = numpy.zeros(len(self.data) + 16, dtype=numpy.uint8)
        at = -self.room.ctypes.data % 16
        self.room[at:at + len(self.data)] = self.data
        self.model = (ctypes.c_uint8 * 1024)()
        kind = "kd_edge_ops_i8" if self.data[16] == 1 else "kd_edge_ops_f32"
        ops = ctypes.addressof(ctypes.c_void_p.in_dll(self.lib, kind))
        blob = ctypes.c_void_p(self.room.ctypes.data + at)
        if self.lib.kd_edge_open(self.model, blob, ctypes.c_size_t(len(self.data)), ctypes.c_void_p(ops)):
            raise SystemExit(f"{path} cannot be opened")
        header = self.data[:52].view(numpy.uint32)
        self.bytes, self.classes = int(header[6]), int(self.data[34:36].view(numpy.uint16)[0])
        self.int8 = self.data[16] == 1
        self.scale, self.zero = self.data[44:48].view(numpy.float32)[0], self.data[48:52].view(numpy.int32)[0]
        self.arena = numpy.zeros(self.bytes + 16, dtype=numpy.uint8)
        self.at = ctypes.c_void_p(self.arena.ctypes.data + -self.arena.ctypes.data % 16)
        self.out = numpy.zeros(self.classes, dtype=numpy.int8 if self.int8 else numpy.float32)

    def __call__(self, pixels):
        status = self.lib.kd_edge_run(self.model, self.at, ctypes.c_size_t(self.bytes),
                                      ctypes.c_void_p(pixels.ctypes.data), ctypes.c_void_p(self.out.ctypes.data))
        assert status == 0
        return (self.out.astype(numpy.float32) - self.zero) * self.scale if self.int8 else self.out.copy()


class Network:
    """Our own float network, through a plan that is kept; pictures [H,W,C], normalised."""

    def __init__(self, lib, path, classes):
        self.lib = ctypes.CDLL(lib)
        for name in ("kd_exec_output", "kd_ctx_error"):
            getattr(self.lib, name).restype = ctypes.c_void_p
        ctx, model, plan, self.exec = (ctypes.c_void_p() for _ in range(4))
        if (self.lib.kd_ctx_create(None, ctypes.byref(ctx)) or
                self.lib.kd_model_load(ctx, path.encode(), None, ctypes.byref(model)) or
                self.lib.kd_model_plan(model, ctypes.c_size_t(1), ctypes.byref(plan), ctypes.byref(self.exec))):
            raise SystemExit(f"{path}: no plan")
        self.classes = classes

    def __call__(self, picture):
        assert self.lib.kd_exec_bind(self.exec, b"input", ctypes.c_void_p(picture.ctypes.data)) == 0
        assert self.lib.kd_exec_run(self.exec, None) == 0
        at = self.lib.kd_exec_output(self.exec, b"logits")
        return numpy.ctypeslib.as_array(ctypes.cast(at, ctypes.POINTER(ctypes.c_float)), (self.classes,)).copy()


# ---- the others ---------------------------------------------------------------------------------------


def tensors_of(path):
    with safe_open(path, framework="numpy") as f:
        metadata = f.metadata()
        return {name: f.get_tensor(name).astype(numpy.float64) for name in f.keys()}, metadata


def folded(tensors, name):
    """Weight and bias of a convolution with the norm behind it."""
    w, b = tensors[name + ".weight"], tensors[name + ".bias"]
    head, number = name.rsplit(".", 1)
    norm = f"{head}.{int(number) + 1}"
    if norm + ".running_mean" in tensors:
        s = tensors[norm + ".weight"] / numpy.sqrt(tensors[norm + ".running_var"] + 1e-5)
        w = w * s[:, None, None, None]
        b = (b - tensors[norm + ".running_mean"]) * s + tensors[norm + ".bias"]
    return w.astype(numpy.float32), b.astype(numpy.float32)


def weights_of(layer, tensors):
    if layer["op"] == "conv2d":
        return folded(tensors, layer["name"])
    return (tensors[layer["name"] + end].astype(numpy.float32) for end in (".weight", ".bias"))


def to_onnx(layers, tensors, side, path):
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    nodes, weights, x, height = [], [], "input", side

    def op(kind, inputs, **attributes):
        out = f"v{len(nodes)}"
        nodes.append(helper.make_node(kind, inputs, [out], **attributes))
        return out

    def constant(array):
        name = f"c{len(weights)}"
        weights.append(numpy_helper.from_array(array, name))
        return name

    for layer in layers:
        if layer["op"] == "conv2d":
            w, b = weights_of(layer, tensors)
            x = op("Conv", [x, constant(w), constant(b)], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
            x = op("Relu", [x])
            if layer["out"][0] * 2 <= height:
                x = op("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
            height = layer["out"][0]
        elif layer["op"] == "max_pool":
            x = op("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
            height = layer["out"][0]
        elif layer["op"] == "avg_pool":
            x = op("GlobalAveragePool", [x])
        else:
            w, b = weights_of(layer, tensors)
            x = op("Gemm", [op("Flatten", [x]), constant(w), constant(b)], transB=1)
    nodes[-1].output[0] = "logits"
    graph = helper.make_graph(
        nodes, "network", [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, len(b)])], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def has_vnni():
    """Without it onnxruntime's products saturate unless weights have seven bits."""
    with open("/proc/cpuinfo") as f:
        return "vnni" in f.read()


def quantise(source, target, pictures):
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.left = iter(pictures)

        def get_next(self):
            x = next(self.left, None)
            return None if x is None else {"input": x}

    quantize_static(source, target, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, reduce_range=not has_vnni())


def onnxruntime_of(path):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"input": x})[0][0]


def openvino_of(path):
    import openvino
    core = openvino.Core()
    compiled = core.compile_model(path, "CPU", {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"})
    request = compiled.create_infer_request()
    return lambda x: request.infer({0: x})[compiled.output(0)][0]


# ---- turns --------------------------------------------------------------------------------------------


def smooth(state, side):
    """Large spots of colour: noise reaches further than any picture, and ranges of pictures cut it off."""
    coarse = numpy.linspace(0, 3.999, side)
    at, share = coarse.astype(int), (coarse % 1)
    spots = state.randint(30, 226, (5, 5, 3)).astype(numpy.float64)
    rows = spots[at] * (1 - share)[:, None, None] + spots[at + 1] * share[:, None, None]
    both = rows[:, at] * (1 - share)[None, :, None] + rows[:, at + 1] * share[None, :, None]
    return numpy.ascontiguousarray(both.round().astype(numpy.uint8))


def decibels(true, other):
    return 10 * numpy.log10((true ** 2).sum() / max(((true - other) ** 2).sum(), 1e-30))


def timed(call, inputs):
    times = []
    for x in inputs:
        begin = time.perf_counter()
        call(x)
        times.append(time.perf_counter() - begin)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("network")
    parser.add_argument("--kd", default="build/bin/kd")
    parser.add_argument("--lib", default="build/lib/libkd.so")
    parser.add_argument("--data", default="cifar-10")
    parser.add_argument("--data-dir")
    parser.add_argument("--out", default="build/bench/int8.json")
    args = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    data = ["--data-dir", args.data_dir] if args.data_dir else []
    with tempfile.TemporaryDirectory() as folder:
        small, large, plain, qdq, report, lite = (os.path.join(folder, n) for n in (
            "a.kde", "b.kde", "a.onnx", "b.onnx", "report.json", "a.tflite"))
        run(args.kd, "export", args.network, "--edge", small, "--int8", "--calibrate", args.data, *data,
            "--compare-count", "10", "--quiet", "--report", report)
        run(args.kd, "export", args.network, "--edge", large)
        about = json.loads(run(args.kd, "inspect", small, "--json"))
        tensors, metadata = tensors_of(args.network)
        side = about["image"]
        mean, std = (numpy.array(metadata["libkd." + k].split(","), dtype=numpy.float32)[:, None, None]
                     for k in ("mean", "std"))
        state = numpy.random.RandomState(1)
        pixels = [smooth(state, side) for _ in range(RUNS)]
        normal = [((p.transpose(2, 0, 1).astype(numpy.float32) / 255 - mean) / std)[None] for p in pixels]
        to_onnx(about["layers"], tensors, side, plain)
        quantise(plain, qdq, normal)
        rows = [numpy.ascontiguousarray(x[0].transpose(1, 2, 0)) for x in normal]
        sides = {"ours int8": (Blob(args.lib, small), pixels), "ours float32 .kde": (Blob(args.lib, large), pixels),
                 "ours float32": (Network(args.lib, args.network, about["classes"]), rows),
                 "onnxruntime int8": (onnxruntime_of(qdq), normal),
                 "onnxruntime float32": (onnxruntime_of(plain), normal)}
        try:
            sides["openvino int8"] = (openvino_of(qdq), normal)
        except ImportError:
            print("openvino is not installed: left out")
        try:
            import litert
            with open(report) as f:
                layers = json.load(f)["layers"]
            steps = litert.steps_of(normal)
            output = litert.write(layers, lambda layer: weights_of(layer, tensors), side, steps, lite)
            runner = litert.Runner(lite, steps, output)
            sides["litert int8"] = (runner, [runner.prepare(x) for x in normal])
        except ImportError:
            print("ai-edge-litert is not installed: left out")
        true = numpy.array([sides["onnxruntime float32"][0](x) for x in normal])
        for name, (call, inputs) in sides.items():
            found = decibels(true, numpy.array([call(x) for x in inputs]))
            print(f"{name}: {found:.1f} dB to onnxruntime's float32")
            assert found > (10 if "int8" in name else 60), f"{name} computes something else"
        rounds = [{name: timed(call, inputs) for name, (call, inputs) in sides.items()} for _ in range(ROUNDS)]
    result = {"spec": about["spec"], "macs": about["macs"], "milliseconds": {}, "least": {}, "ratio": {}}
    for name in sides:
        result["milliseconds"][name] = 1e3 * statistics.median(t for r in rounds for t in r[name])
        result["least"][name] = 1e3 * min(t for r in rounds for t in r[name])
        ratios = sorted(statistics.median(r[name]) / statistics.median(r["ours int8"]) for r in rounds)
        result["ratio"][name] = [ratios[len(ratios) // 10], statistics.median(ratios), ratios[-1 - len(ratios) // 10]]
        low, middle, high = result["ratio"][name]
        print(f"{name:20} {result['milliseconds'][name]:8.3f} ms   {middle:5.2f} times ours in int8 "
              f"({low:.2f} to {high:.2f})   least {result['least'][name]:.3f} ms")
    os.makedirs(os.path.dirname(args.out), exist_ok=True)
    with open(args.out, "w") as f:
        json.dump(result, f, indent=1)


main()
