# SPDX-License-Identifier: MIT
"""What the makers of golden cases share.

Everything is computed by PyTorch in double precision from numbers that float32 (mostly even
float16) holds exactly, and rounded to float32 once, at the end. So the files hold the true values,
do not depend on the number of threads, and what a test measures is libkd's own rounding.
"""
import math
import os

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torchvision.models.vgg import VGG, make_layers

from random_numbers import Random

FOLDER = os.path.dirname(os.path.abspath(__file__))

# Convolutions in each of the five stages, and what a stage's channels are at width 1.
STAGES = {8: [1, 1, 1, 1, 1], 11: [1, 1, 2, 2, 2], 13: [2, 2, 2, 2, 2], 16: [2, 2, 3, 3, 3],
          19: [2, 2, 4, 4, 4]}
CHANNELS = [64, 128, 256, 512, 512]


def spec_of(number, bn, **keys):
    name = f"vgg{number}" + ("_bn" if bn else "")
    if keys.get("head") == "fc4096":  # vgg() narrows the features alone
        keys["dense"] = 4096
    return ",".join([name] + [f"{k}={v}" for k, v in keys.items()])


def listed(text, otherwise):
    return [int(n) for n in text.split("-")] if text else otherwise


def vgg(number, bn, width=1.0, classes=10, pool4=1, head="gap", convs=None, stages=None):
    """torchvision's own VGG with other numbers of channels, in double precision."""
    config = []
    units = listed(stages, CHANNELS)
    for stage, count in enumerate(listed(convs, STAGES[number])):
        channels = max(1, math.floor(width * units[stage] + 0.5))
        config += [channels] * count
        if stage != 3 or pool4:
            config.append("M")
    model = VGG(make_layers(config, batch_norm=bn), num_classes=1, init_weights=False)
    channels = [c for c in config if c != "M"][-1]
    if head == "gap":
        model.avgpool = nn.AdaptiveAvgPool2d(1)
        model.classifier = nn.Linear(channels, classes)
    else:
        model.classifier[0] = nn.Linear(channels * 49, 4096)
        model.classifier[6] = nn.Linear(4096, classes)
    return model.double()


def randomize(model, random):
    """Weights that keep activations near one; norms, biases, statistics unlike their defaults."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            kind = name.rsplit(".", 1)[1]
            if kind == "num_batches_tracked":
                tensor.fill_(3)
            elif kind == "running_var":
                tensor.copy_((1 + 0.3 * random.exact(*tensor.shape).abs()).float())
            elif kind == "weight" and tensor.dim() > 1:
                scale = math.sqrt(2 / tensor[0].numel())
                tensor.copy_(random.exact(*tensor.shape, scale=scale))
            elif kind == "weight":
                tensor.copy_((1 + 0.2 * random.exact(*tensor.shape)).float())
            else:
                tensor.copy_(random.exact(*tensor.shape, scale=0.1))


def single(tensor):
    """As it goes to a file."""
    tensor = tensor.detach()
    return (tensor.float() if tensor.is_floating_point() else tensor).contiguous().clone()


def state(model):
    """The state_dict as torchvision's float32 model has it."""
    return {name: single(tensor) for name, tensor in model.state_dict().items()}


class Kinks:
    """How near forward passes come to places where a gradient jumps: a ReLU's input to zero, or a
    max pool's two largest positive inputs to each other. Rounding must not decide on which side a
    case lies."""

    def __init__(self, model):
        self.margin = math.inf
        for module in model.modules():
            if isinstance(module, nn.ReLU):
                module.register_forward_pre_hook(self._relu)
            elif isinstance(module, nn.MaxPool2d):
                module.register_forward_pre_hook(self._pool)

    def _relu(self, module, inputs):
        self.margin = min(self.margin, inputs[0].detach().abs().min().item())

    def _pool(self, module, inputs):
        x = inputs[0].detach()
        n, c = x.shape[:2]
        windows = nn.functional.unfold(x.reshape(n * c, 1, *x.shape[2:]), module.kernel_size,
                                       stride=module.stride)
        top = windows.topk(2, dim=1).values
        gap = (top[:, 0] - top[:, 1])[top[:, 0] > 0]
        if gap.numel():
            self.margin = min(self.margin, gap.min().item())


def distillation(logits, teacher, temperature):
    """T^2 KL(teacher || student), summed over classes, mean over the batch."""
    log_q = torch.log_softmax(logits / temperature, 1)
    target = torch.softmax(teacher / temperature, 1)
    return temperature ** 2 * nn.functional.kl_div(log_q, target, reduction="batchmean")


def load(path):
    """Tensors and metadata of a safetensors file, or the text of any other."""
    if not path.endswith(".safetensors"):
        with open(path, encoding="utf-8") as f:
            return f.read()
    with safe_open(path, "pt") as f:
        return {name: f.get_tensor(name) for name in f.keys()}, f.metadata() or {}


def equal(x, y):
    """To the bit, but for what is nothing but rounding, and so differs between processors: a key's bias,
    or one before a batch norm, has no gradient."""
    if x.dtype != y.dtype or x.shape != y.shape:
        return False
    if torch.equal(x, y) or not x.is_floating_point():
        return torch.equal(x, y)
    x, y = x.double(), y.double()
    return bool(((x - y).abs() <= 1e-13 * y.abs().max().clamp(min=1)).all())


def same(a, b):
    """Whether two files' contents, as load returns them, are equal."""
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    if a[1] != b[1] or a[0].keys() != b[0].keys():
        return False
    return all(equal(x, b[0][n]) for n, x in a[0].items())


def store(name, content, check=False):
    """Write a file unless it holds just this; with check, complain instead of writing. (The order
    of a safetensors file's metadata varies, so files are compared by what they hold.)"""
    path = os.path.join(FOLDER, name)
    if os.path.exists(path) and same(load(path), content):
        print(f"{name}: unchanged, {os.path.getsize(path)} bytes")
        return True
    if check:
        print(f"{name}: DIFFERS")
        return False
    if isinstance(content, str):
        with open(path, "w", encoding="utf-8") as f:
            f.write(content)
    else:
        save_file(content[0], path, content[1])
    os.chmod(path, 0o644)
    print(f"{name}: written, {os.path.getsize(path)} bytes")
    return True
