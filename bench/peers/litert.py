# SPDX-License-Identifier: MIT
"""The network that int8.py measures as a LiteRT model: int8, a scale for each channel of the weights, the scales of
maps those of our own export; and LiteRT's interpreter with XNNPACK on one thread."""

import flatbuffers
import numpy
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter


def steps_of(pictures):
    """Scale and zero of the input: int8 over all that the pictures hold."""
    low, high = min(p.min() for p in pictures), max(p.max() for p in pictures)
    scale = (high - low) / 255
    return float(scale), int(round(-128 - low / scale))


class Graph:
    def __init__(self):
        self.tensors, self.operators, self.codes = [], [], []
        self.buffers = [schema.BufferT()]

    def tensor(self, name, shape, kind, scale, zero, values=None, axis=0):
        t, q = schema.TensorT(), schema.QuantizationParametersT()
        scale = numpy.atleast_1d(numpy.asarray(scale, dtype=numpy.float32))
        q.scale, q.zeroPoint = scale, numpy.zeros(len(scale), dtype=numpy.int64) + zero
        q.quantizedDimension = axis
        t.name, t.shape, t.type, t.quantization = name.encode(), list(shape), kind, q
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = numpy.frombuffer(values.tobytes(), dtype=numpy.uint8)
            self.buffers.append(buffer)
            t.buffer = len(self.buffers) - 1
        self.tensors.append(t)
        return len(self.tensors) - 1

    def operator(self, code, inputs, out, kind, options):
        if code not in self.codes:
            self.codes.append(code)
        o = schema.OperatorT()
        o.opcodeIndex, o.inputs, o.outputs = self.codes.index(code), inputs, [out]
        o.builtinOptionsType, o.builtinOptions = kind, options
        self.operators.append(o)

    def write(self, first, last, path):
        graph, model = schema.SubGraphT(), schema.ModelT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = self.tensors, self.operators, [first], [last]
        model.version, model.subgraphs, model.buffers, model.operatorCodes = 3, [graph], self.buffers, []
        for code in self.codes:
            c = schema.OperatorCodeT()
            c.builtinCode = c.deprecatedBuiltinCode = code
            c.version = 3 if code == schema.BuiltinOperator.CONV_2D else 2
            if code == schema.BuiltinOperator.FULLY_CONNECTED:
                c.version = 4
            model.operatorCodes.append(c)
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), b"TFL3")
        with open(path, "wb") as f:
            f.write(builder.Output())


def weights_of(graph, name, w, b, scale, shape):
    """w [out, ...] float: int8 with a scale for each output, its bias in int32; the tensors' numbers."""
    rows = w.reshape(len(w), -1)
    steps = numpy.maximum(numpy.abs(rows).max(axis=1), 1e-12) / 127
    q = numpy.clip(numpy.round(rows / steps[:, None]), -127, 127).astype(numpy.int8)
    bias = numpy.round(b / (steps * scale)).astype(numpy.int32)
    return (graph.tensor(name + ".weight", shape, schema.TensorType.INT8, steps, 0, q),
            graph.tensor(name + ".bias", [len(b)], schema.TensorType.INT32, steps * scale, 0, bias))


def write(layers, weights, side, steps, path):
    """layers: of kd export --report; weights(layer): its float weights [out,in,ky,kx] or [out,in] and bias."""
    graph, kind = Graph(), schema.TensorType.INT8
    scale, zero = steps
    shape = [1, side, side, 3]
    first = x = graph.tensor("input", shape, kind, scale, zero)
    pool = schema.BuiltinOptions.Pool2DOptions

    def pooled(x, code, shape, size, stride, scale, zero):
        o = schema.Pool2DOptionsT()
        o.padding, o.filterHeight, o.filterWidth = schema.Padding.VALID, size, size
        o.strideH = o.strideW = stride
        out = graph.tensor(f"v{len(graph.tensors)}", shape, kind, scale, zero)
        graph.operator(code, [x], out, pool, o)
        return out

    for layer in layers:
        out = [1] + layer["out"]
        if layer["op"] == "conv2d":
            w, b = weights(layer)
            w = w.transpose(0, 2, 3, 1)
            w, b = weights_of(graph, layer["name"], w, b, scale, w.shape)
            scale, zero = layer["scale"], layer["zero"]
            whole = shape[:3] + [out[3]]
            y = graph.tensor(layer["name"], whole, kind, scale, zero)
            o = schema.Conv2DOptionsT()
            o.padding, o.strideH, o.strideW = schema.Padding.SAME, 1, 1
            o.dilationHFactor = o.dilationWFactor = 1
            o.fusedActivationFunction = schema.ActivationFunctionType.RELU
            graph.operator(schema.BuiltinOperator.CONV_2D, [x, w, b], y, schema.BuiltinOptions.Conv2DOptions, o)
            x = y if whole == out else pooled(y, schema.BuiltinOperator.MAX_POOL_2D, out, 2, 2, scale, zero)
        elif layer["op"] == "max_pool":
            x = pooled(x, schema.BuiltinOperator.MAX_POOL_2D, out, 2, 2, scale, zero)
        elif layer["op"] == "avg_pool":
            x = pooled(x, schema.BuiltinOperator.AVERAGE_POOL_2D, out, shape[1], 1, scale, zero)
        else:
            w, b = weights(layer)
            w, b = weights_of(graph, layer["name"], w, b, scale, w.shape)
            scale, zero = layer["scale"], layer["zero"]
            y = graph.tensor("logits", [1, out[3]], kind, scale, zero)
            graph.operator(schema.BuiltinOperator.FULLY_CONNECTED, [x, w, b], y,
                           schema.BuiltinOptions.FullyConnectedOptions, schema.FullyConnectedOptionsT())
            x = y
        shape = out
    graph.write(first, x, path)
    return scale, zero


class Runner:
    """Pictures [1,3,H,W] as onnxruntime takes them, quantised beforehand by `prepare`."""

    def __init__(self, path, steps, output):
        self.steps, self.output = steps, output
        self.interpreter = Interpreter(model_path=path, num_threads=1)
        self.interpreter.allocate_tensors()
        self.first = self.interpreter.get_input_details()[0]["index"]
        self.last = self.interpreter.get_output_details()[0]["index"]

    def prepare(self, picture):
        q = numpy.round(picture.transpose(0, 2, 3, 1) / self.steps[0]) + self.steps[1]
        return numpy.ascontiguousarray(numpy.clip(q, -128, 127).astype(numpy.int8))

    def __call__(self, x):
        self.interpreter.set_tensor(self.first, x)
        self.interpreter.invoke()
        return (self.interpreter.get_tensor(self.last)[0].astype(numpy.float32) - self.output[1]) * self.output[0]
