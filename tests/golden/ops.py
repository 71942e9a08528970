# SPDX-License-Identifier: MIT
"""Golden cases of single ops: ops.safetensors.

A case CASE has a metadata entry CASE, a JSON object with "op" and its attributes, and tensors
    CASE/in0, in1 ...    inputs (float16 or float32, labels int64)
    CASE/param.NAME      parameters and buffers, PyTorch's layouts
    CASE/weighting       of the output's shape: the loss is sum(out * weighting); absent where the
                         output is itself a scalar loss
    CASE/out             the output
    CASE/grad.in0, grad.NAME     the loss's gradients
    CASE/after.NAME      buffers after the run
"nchw": 1 says that rank-4 inputs and outputs are pictures in PyTorch's order. "training": 1 or 0.
"""
import json
import math

from functools import partial

import torch
from timm.models.swin_transformer import PatchMerging, SwinTransformerBlock
from timm.models.vision_transformer import Block
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

import golden

cases = []


def case(name, op, function, inputs, params=None, buffers=None, grads=None, scalar=False,
         training=1, **attributes):
    cases.append((name, op, function, inputs, params or {}, buffers or {}, grads, scalar,
                  training, attributes))


def compute(index, name, op, function, inputs, params, buffers, grads, scalar, training,
            attributes):
    random = golden.Random(90000 + index)
    tensors = {}
    inputs = [x.clone() for x in inputs]
    params = {n: x.clone() for n, x in params.items()}
    buffers = {n: x.clone() for n, x in buffers.items()}
    wanted = range(len(inputs)) if grads is None else grads
    for i, x in enumerate(inputs):
        stored = x if not x.is_floating_point() else \
            x.half() if torch.equal(x.half().double(), x) else x.float()
        tensors[f"{name}/in{i}"] = stored.contiguous()
        if i in wanted:
            x.requires_grad_()
    for n, x in {**params, **buffers}.items():
        tensors[f"{name}/param.{n}"] = x.clone() if not x.is_floating_point() else x.float()
    for x in params.values():
        x.requires_grad_()
    out = function(*inputs, **params, **buffers)
    if scalar:
        loss = out
    else:
        weighting = random.normal(*out.shape)
        tensors[f"{name}/weighting"] = weighting.half()
        loss = (out * weighting).sum()
    loss.backward()
    tensors[f"{name}/out"] = golden.single(out)
    for i in wanted:
        tensors[f"{name}/grad.in{i}"] = golden.single(inputs[i].grad)
    for n, x in params.items():
        tensors[f"{name}/grad.{n}"] = golden.single(x.grad)
    for n, x in buffers.items():
        tensors[f"{name}/after.{n}"] = golden.single(x)
    return tensors, json.dumps({"op": op, "training": training, **attributes})


# ---- convolutions and linear layers ------------------------------------------------------------

def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def convolution(name, shape, out, kernel, stride=1, pad=0, dilation=1, groups=1, bias=True):
    r = golden.Random(len(cases))
    kernel, stride, pad, dilation = pair(kernel), pair(stride), pair(pad), pair(dilation)
    params = {"weight": r.exact(out, shape[1] // groups, *kernel, scale=0.3)}
    if bias:
        params["bias"] = r.exact(out)

    def function(x, weight, bias=None):
        return F.conv2d(x, weight, bias, stride, pad, dilation, groups)

    case("conv2d_" + name, "conv2d", function, [r.normal(*shape)], params, nchw=1, out=out,
         kernel_h=kernel[0], kernel_w=kernel[1], stride_h=stride[0], stride_w=stride[1],
         pad_h=pad[0], pad_w=pad[1], dilation_h=dilation[0], dilation_w=dilation[1], groups=groups,
         bias=int(bias))


def convolutions():
    convolution("3x3", (2, 8, 8, 8), 12, 3, pad=1)
    convolution("3x3_no_bias", (3, 3, 10, 10), 8, 3, pad=1, bias=False)
    convolution("3x3_odd", (2, 5, 9, 7), 7, 3, pad=1)
    convolution("3x3_wide", (1, 16, 4, 4), 32, 3, pad=1)
    convolution("3x3_on_2x2", (3, 6, 2, 2), 9, 3, pad=1)
    convolution("3x3_on_1x1", (2, 4, 1, 1), 5, 3, pad=1)
    convolution("3x3_row", (2, 3, 1, 11), 4, 3, pad=1)
    convolution("3x3_valid", (2, 4, 7, 6), 5, 3)
    convolution("3x3_pad2", (2, 3, 5, 5), 4, 3, pad=2)
    convolution("3x3_stride2", (2, 5, 9, 8), 6, 3, stride=2, pad=1)
    convolution("3x3_dilated", (2, 4, 9, 9), 5, 3, pad=2, dilation=2)
    convolution("1x1", (2, 7, 5, 5), 9, 1)
    convolution("1x1_stride2", (2, 6, 5, 7), 4, 1, stride=2, bias=False)
    convolution("5x5", (2, 3, 8, 8), 6, 5, pad=2)
    convolution("7x7_stride2", (1, 3, 15, 15), 8, 7, stride=2, pad=3, bias=False)
    convolution("patches", (2, 3, 8, 8), 10, 4, stride=4)
    convolution("uneven", (2, 4, 9, 10), 5, (3, 2), stride=(2, 1), pad=(1, 0), dilation=(1, 2))
    convolution("unreached", (1, 2, 8, 8), 3, 2, stride=3)  # its last rows meet no kernel
    convolution("kernel_over_edge", (1, 3, 3, 3), 4, 5, pad=1)
    convolution("groups2", (2, 6, 6, 6), 8, 3, pad=1, groups=2)
    convolution("groups3_1x1", (2, 6, 4, 4), 9, 1, groups=3, bias=False)
    convolution("depthwise", (2, 9, 7, 7), 9, 3, pad=1, groups=9)
    convolution("depthwise_stride2", (2, 8, 8, 8), 8, 5, stride=2, pad=2, groups=8, bias=False)
    convolution("depthwise_twofold", (2, 5, 6, 6), 10, 3, pad=1, groups=5)


def linears():
    def linear(name, shape, out, bias):
        r = golden.Random(len(cases))
        params = {"weight": r.exact(out, shape[-1], scale=0.3)}
        if bias:
            params["bias"] = r.exact(out)
        case(name, "linear", lambda x, weight, bias=None: F.linear(x, weight, bias),
             [r.normal(*shape)], params, out=out, bias=int(bias))

    linear("linear", (5, 13), 7, True)
    linear("linear_no_bias", (3, 32), 10, False)
    linear("linear_tokens", (2, 5, 8), 12, True)
    linear("linear_one", (1, 1), 1, True)

    def flatten(name, shape, out, bias):
        r = golden.Random(len(cases))
        features = shape[1] * shape[2] * shape[3]
        params = {"weight": r.exact(out, features, scale=0.2)}
        if bias:
            params["bias"] = r.exact(out)
        case(name, "flatten_linear",
             lambda x, weight, bias=None: F.linear(x.flatten(1), weight, bias),
             [r.normal(*shape)], params, nchw=1, out=out, bias=int(bias))

    flatten("flatten_linear", (3, 4, 3, 2), 6, True)
    flatten("flatten_linear_no_bias", (2, 5, 2, 2), 4, False)


def batch_norms():
    def norm(name, shape, training, momentum=0.1, eps=1e-5):
        r = golden.Random(len(cases))
        channels = shape[-1] if len(shape) == 2 else shape[1]
        params = {"weight": r.exact(channels), "bias": r.exact(channels)}
        buffers = {"running_mean": r.exact(channels),
                   "running_var": (0.5 + r.exact(channels).abs()).float().double(),
                   "num_batches_tracked": torch.tensor(7)}

        def function(x, weight, bias, running_mean, running_var, num_batches_tracked):
            if training:
                num_batches_tracked += 1
            return F.batch_norm(x, running_mean, running_var, weight, bias, bool(training),
                                momentum, eps)

        case(name, "batch_norm", function, [2 * r.normal(*shape) + 0.5], params, buffers,
             training=training, nchw=1, momentum=momentum, eps=eps)

    norm("batch_norm_train", (3, 6, 4, 5), 1)
    norm("batch_norm_train_momentum", (2, 9, 3, 3), 1, momentum=0.3, eps=1e-3)
    norm("batch_norm_train_1x1", (8, 5, 1, 1), 1)
    norm("batch_norm_train_rows", (6, 7), 1)
    norm("batch_norm_eval", (3, 6, 4, 5), 0)
    norm("batch_norm_eval_rows", (4, 7), 0, eps=1e-3)


# ---- elementwise, shapes -----------------------------------------------------------------------

def functions():
    r = golden.Random(77)
    x = r.normal(3, 4, 5)
    x[0, 0, :3] = 0
    case("relu", "relu", F.relu, [x])
    case("gelu", "gelu", F.gelu, [r.normal(3, 11, scale=2)])
    case("add", "add", torch.add, [r.normal(2, 3, 5), r.normal(2, 3, 5)])
    case("add_twice", "add_twice", lambda a: a + F.relu(a), [r.normal(2, 3, 5)])
    case("mul", "mul", torch.mul, [r.normal(2, 3, 5), r.normal(2, 3, 5)])
    case("square", "square", lambda a: a * a, [r.normal(4, 6)])
    case("scale", "scale", lambda a: a * -1.75, [r.normal(4, 6)], factor=-1.75)
    case("softmax", "softmax", lambda a: torch.softmax(a, -1), [r.normal(4, 10, scale=2)])
    case("softmax_tokens", "softmax", lambda a: torch.softmax(a, -1), [r.normal(2, 3, 4, 7)])
    case("softmax_far", "softmax", lambda a: torch.softmax(a, -1), [100 * r.normal(3, 5)])
    case("concat_channels", "concat", lambda *a: torch.cat(a, 1),
         [r.normal(2, c, 3, 4) for c in (3, 1, 6)], nchw=1, axis=-1)
    case("concat_rows", "concat", lambda *a: torch.cat(a, 1),
         [r.normal(2, t, 5) for t in (1, 4)], axis=1)
    case("concat_batch", "concat", lambda *a: torch.cat(a, 0),
         [r.normal(3, 4), r.normal(3, 4)], axis=0)
    case("reshape", "reshape", lambda a: a.reshape(3, 6, 4), [r.normal(3, 4, 6)], dim_1=6, dim_2=4)
    case("reshape_merge", "reshape", lambda a: a.reshape(2, 60), [r.normal(2, 3, 4, 5)], dim_1=60)
    case("transpose_swap", "transpose", lambda a: a.permute(0, 2, 1), [r.normal(2, 5, 7)],
         order_0=0, order_1=2, order_2=1)
    case("transpose_heads", "transpose", lambda a: a.permute(0, 2, 1, 3), [r.normal(2, 3, 4, 5)],
         order_0=0, order_1=2, order_2=1, order_3=3)
    case("transpose_cycle", "transpose", lambda a: a.permute(0, 3, 1, 2), [r.normal(2, 3, 4, 5)],
         order_0=0, order_1=3, order_2=1, order_3=2)


# ---- pools -------------------------------------------------------------------------------------

def pools():
    def pool(name, shape, kernel, stride, pad=0, ceil=0, include=None, x=None):
        r = golden.Random(len(cases))
        kernel, stride, pad = pair(kernel), pair(stride), pair(pad)
        if include is None:
            def function(a):
                return F.max_pool2d(a, kernel, stride, pad, 1, bool(ceil))
        else:
            def function(a):
                return F.avg_pool2d(a, kernel, stride, pad, bool(ceil), bool(include))
        if x is None:
            x = r.normal(*shape)
        case(name, "max_pool" if include is None else "avg_pool", function, [x], nchw=1,
             kernel_h=kernel[0], kernel_w=kernel[1], stride_h=stride[0], stride_w=stride[1],
             pad_h=pad[0], pad_w=pad[1], ceil_mode=ceil, exclude_pad=int(include == 0))

    pool("max_pool_2x2", (2, 5, 8, 6), 2, 2)
    pool("max_pool_2x2_odd", (2, 3, 7, 5), 2, 2)
    pool("max_pool_2x2_ceil", (2, 3, 7, 5), 2, 2, ceil=1)
    pool("max_pool_3x3", (2, 4, 8, 8), 3, 2, 1)
    pool("max_pool_3x3_odd_ceil", (2, 4, 7, 9), 3, 2, 1, ceil=1)
    pool("max_pool_3x3_stride1", (1, 4, 5, 5), 3, 1, 1)
    pool("max_pool_uneven", (2, 3, 8, 9), (3, 2), (1, 2), (1, 0))
    pool("max_pool_ceil_clipped", (1, 2, 6, 6), 2, 3, 1, ceil=1)  # the last window may not start
    ties = (golden.Random(5).normal(2, 3, 6, 6) * 2).round() / 2  # in the padding
    pool("max_pool_ties", (2, 3, 6, 6), 3, 2, 1, x=ties)
    pool("max_pool_negative", (1, 3, 4, 4), 3, 2, 1, x=-golden.Random(6).normal(1, 3, 4, 4).abs())
    for include in (1, 0):
        end = "" if include else "_exclude_pad"
        pool("avg_pool_2x2" + end, (2, 3, 6, 6), 2, 2, include=include)
        pool("avg_pool_3x3_pad" + end, (2, 4, 7, 8), 3, 2, 1, include=include)
        pool("avg_pool_3x3_pad_ceil" + end, (2, 4, 8, 7), 3, 2, 1, ceil=1, include=include)
        pool("avg_pool_ceil_clipped" + end, (1, 2, 6, 6), 2, 3, 1, ceil=1, include=include)
        pool("avg_pool_uneven" + end, (2, 3, 8, 9), (3, 4), (2, 3), (1, 2), include=include)
    pool("avg_pool_odd_ceil", (2, 3, 7, 5), 2, 2, ceil=1, include=1)

    def adaptive(name, shape, h, w):
        r = golden.Random(len(cases))
        case(name, "adaptive_avg_pool", lambda x: F.adaptive_avg_pool2d(x, (h, w)),
             [r.normal(*shape)], nchw=1, h=h, w=w)

    adaptive("adaptive_avg_pool_even", (2, 3, 6, 8), 3, 2)
    adaptive("adaptive_avg_pool_overlapping", (2, 3, 7, 5), 3, 2)
    adaptive("adaptive_avg_pool_growing", (2, 3, 2, 3), 7, 7)
    adaptive("adaptive_avg_pool_from_1x1", (2, 4, 1, 1), 7, 7)
    adaptive("adaptive_avg_pool_same", (1, 3, 4, 4), 4, 4)
    r = golden.Random(78)
    case("global_avg_pool", "global_avg_pool", lambda x: x.mean((2, 3)), [r.normal(3, 5, 4, 3)],
         nchw=1)
    case("global_avg_pool_tokens", "global_avg_pool", lambda x: x.mean(1), [r.normal(2, 6, 5)])


# ---- losses ------------------------------------------------------------------------------------

def dkd(logits, teacher, labels, temperature, alpha, beta):
    """Decoupled distillation as mdistiller computes it: the target's share against the rest, and
    the rest among itself."""
    mask = F.one_hot(labels, logits.shape[1]).to(logits.dtype)

    def shares(x):
        p = torch.softmax(x / temperature, 1)
        return torch.stack([(p * mask).sum(1), (p * (1 - mask)).sum(1)], 1)

    scale = temperature ** 2 / logits.shape[0]
    tckd = F.kl_div(shares(logits).log(), shares(teacher), reduction="sum") * scale
    others = torch.log_softmax(logits / temperature - 1000 * mask, 1)
    target = torch.softmax(teacher / temperature - 1000 * mask, 1)
    nckd = F.kl_div(others, target, reduction="sum") * scale
    return alpha * tckd + beta * nckd


def standardize(x):
    return (x - x.mean(-1, keepdim=True)) / (1e-7 + x.std(-1, keepdim=True))


def losses():
    r = golden.Random(79)
    for n, k, scale in ((6, 10, 2), (3, 2, 1), (4, 100, 2)):
        x, t, y = r.normal(n, k, scale=scale), r.normal(n, k, scale=scale), r.labels(n, k)
        for smoothing in (0.0, 0.1):
            case(f"cross_entropy_{k}_{smoothing}", "cross_entropy",
                 lambda a, b, s=smoothing: F.cross_entropy(a, b, label_smoothing=s), [x, y],
                 grads=[0], scalar=True, smoothing=smoothing)
        for temperature in (1.0, 4.0):
            case(f"kd_{k}_{temperature:g}", "kd",
                 lambda a, b, T=temperature: golden.distillation(a, b, T), [x, t], grads=[0],
                 scalar=True, temperature=temperature)
        case(f"hard_{k}", "hard", lambda a, b: F.cross_entropy(a, b.argmax(1)), [x, t], grads=[0],
             scalar=True)
        for temperature, alpha, beta in ((4.0, 1.0, 8.0), (1.0, 0.5, 2.0)):
            case(f"dkd_{k}_{temperature:g}", "dkd",
                 lambda a, b, c, p=(temperature, alpha, beta): dkd(a, b, c, *p), [x, t, y],
                 grads=[0], scalar=True, temperature=temperature, alpha=alpha, beta=beta)
        if k == 2:
            x, t = r.normal(4, 5), r.normal(4, 5)  # of two numbers only the sign would remain
            y, k = r.labels(4, 5), 5
        case(f"standardize_{k}", "standardize", standardize, [x])
        case(f"standardized_kd_{k}", "standardized_kd",
             lambda a, b: 9 * golden.distillation(standardize(a), standardize(b), 2.0), [x, t],
             grads=[0], scalar=True, temperature=2.0, soft=9.0)
        case(f"hinton_{k}", "hinton",
             lambda a, b, c: 0.1 * F.cross_entropy(a, c) + 0.9 * golden.distillation(a, b, 4.0),
             [x, t, y], grads=[0], scalar=True, hard=0.1, soft=0.9, temperature=4.0)
    far, y = 100 * r.normal(4, 6), r.labels(4, 6)
    case("cross_entropy_far", "cross_entropy", F.cross_entropy, [far, y], grads=[0], scalar=True,
         smoothing=0.0)
    case("kd_far", "kd", lambda a, b: golden.distillation(a, b, 4.0), [far, 100 * r.normal(4, 6)],
         grads=[0], scalar=True, temperature=4.0)


# ---- transformers ------------------------------------------------------------------------------

def module_case(name, op, module, x, **attributes):
    """timm's own module, with random parameters."""
    r = golden.Random(len(cases))
    module.double().eval()
    params = {}
    for n, p in module.named_parameters():
        kind = n.rsplit(".", 1)[-1]
        scale = 0.5 / math.sqrt(p.shape[-1]) if kind == "weight" and p.dim() > 1 else 0.3
        params[n] = (r.exact(*p.shape, scale=scale) + (1 if "norm" in n and kind == "weight" else 0)
                     ).float().double()
    case(name, op, lambda a, **p: functional_call(module, p, (a,)), [x], params, **attributes)


def transformers():
    r = golden.Random(80)
    for name, shape, eps in (("tokens", (2, 5, 12), 1e-6), ("map", (2, 3, 2, 8), 1e-5),
                             ("rows", (4, 37), 1e-6)):
        case("layer_norm_" + name, "layer_norm",
             lambda x, weight, bias, e=eps: F.layer_norm(x, x.shape[-1:], weight, bias, e),
             [2 * r.normal(*shape) + 0.5],
             {"weight": r.exact(shape[-1]), "bias": r.exact(shape[-1])}, eps=eps)

    def attention(qkv, heads):
        n, t, width = qkv.shape
        q, k, v = qkv.reshape(n, t, 3, heads, -1).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, width // 3)

    for shape, heads in (((2, 5, 24), 2), ((1, 65, 24), 1), ((1, 90, 12), 2), ((3, 1, 9), 3)):
        case(f"attention_{shape[1]}x{shape[2]}", "attention",
             lambda x, h=heads: attention(x, h), [r.normal(*shape)], heads=heads)
    case("tokens", "tokens",
         lambda x, cls_token, dist_token, pos_embed:
         torch.cat([cls_token.expand(3, -1, -1), dist_token.expand(3, -1, -1), x], 1) + pos_embed,
         [r.normal(3, 4, 5)], {"cls_token": r.exact(1, 1, 5), "dist_token": r.exact(1, 1, 5),
                               "pos_embed": r.exact(1, 6, 5)})
    case("take", "take", lambda x: x[:, 1], [r.normal(3, 4, 5)], index=1)
    case("roll", "windows", lambda x: torch.roll(x, (-1, -2), (1, 2)).reshape(4, 12, 5),
         [r.normal(4, 3, 4, 5)], window_h=3, window_w=4, shift_h=1, shift_w=2)
    module_case("vit_block", "vit_block",
                Block(12, 3, 2.0, qkv_bias=True, norm_layer=partial(nn.LayerNorm, eps=1e-6)),
                r.normal(2, 7, 12), heads=3, hidden=24)
    for name, size, window, shift in (("whole", (4, 6), 2, 0), ("shifted", (4, 6), 2, 1),
                                      ("filled", (5, 7), 3, 1), ("filled_even", (5, 6), 4, 2),
                                      ("map_smaller", (3, 3), 4, 2), ("map_lower", (3, 8), 4, 2)):
        block = SwinTransformerBlock(8, size, 2, window_size=window, shift_size=shift,
                                     mlp_ratio=2.0)
        (window_h, window_w), (shift_h, shift_w) = block.window_size, block.shift_size
        module_case("swin_" + name, "swin_block", block, r.normal(2, *size, 8), heads=2, hidden=16,
                    window_h=window_h, window_w=window_w, shift_h=shift_h, shift_w=shift_w)
    for size in ((4, 6), (5, 3)):
        module_case(f"patch_merging_{size[0]}x{size[1]}", "patch_merging", PatchMerging(6),
                    r.normal(2, *size, 6), out=12)


# ---- what losses of one's own are made of ------------------------------------------------------

def small():
    r = golden.Random(80)
    case("sub", "sub", torch.sub, [r.normal(2, 3, 5), r.normal(2, 3, 5)])
    case("sigmoid", "sigmoid", torch.sigmoid, [r.normal(3, 11, scale=2)])
    case("mean", "mean", torch.mean, [r.normal(4, 3, 7)], scalar=True)
    case("mse", "mse", F.mse_loss, [r.normal(4, 3, 7), r.normal(4, 3, 7)], scalar=True)
    case("mse_teacher", "mse_teacher", lambda a, b: F.mse_loss(a, (a * b).detach()),
         [r.normal(4, 9), r.normal(4, 9)], grads=[0], scalar=True)


def make():
    cases.clear()
    convolutions()
    linears()
    batch_norms()
    functions()
    pools()
    losses()
    transformers()
    small()
    tensors, metadata = {}, {}
    for index, c in enumerate(cases):
        assert c[0] not in metadata, c[0]
        fresh, metadata[c[0]] = compute(index, *c)
        tensors.update(fresh)
    print(f"{len(cases)} cases of ops")
    return {"ops.safetensors": (tensors, metadata)}
