# SPDX-License-Identifier: MIT
"""Golden cases of whole networks, made from torchvision's VGG class.

NAME.safetensors            the state_dict as torchvision would save it
NAME_expected.safetensors   metadata "spec"; input (float16), labels; logits_eval; then one training
                            pass with cross-entropy: logits_train, loss, grad.PARAMETER, and
                            after.BUFFER
The dense head of vgg11_fc4096 has 18 million weights: they follow a formula (see pattern) instead
of being stored, and of their gradients the files hold products with that pattern.
names.txt                   names and shapes of torchvision's own networks' tensors
"""
import torch
import torchvision
from torch import nn

import golden

#        name              number  bn  batch  image  keys of vgg()
CASES = [("vgg8_bn",            8, 1,  4, 32, {"width": 0.0625}),
         ("vgg11",             11, 0,  4, 32, {"width": 0.05}),
         ("vgg16_bn",          16, 1,  6, 32, {"width": 0.04}),
         ("vgg8_bn_no_pool4",   8, 1,  3, 44, {"width": 0.04, "pool4": 0}),
         ("vgg8_bn_stages",     8, 1,  4, 20, {"convs": "1-2-1", "stages": "6-10-14"}),
         ("vgg8_bn_rect",       8, 1,  3, (32, 70), {"width": 0.04}),
         ("vgg8_classes",       8, 0,  2, 70, {"width": 0.03125, "classes": 3}),
         ("vgg11_fc4096",      11, 0,  2, 64, {"width": 0.015625, "head": "fc4096"})]
SEEDS = 12


def pattern(count, salt):
    """Numbers in [-.5,.5) that a C program makes just as easily."""
    i = torch.arange(count, dtype=torch.int64)
    x = (i * 2654435761 + salt) & 0xFFFFFFFF
    x = ((x ^ (x >> 15)) * 2246822519) & 0xFFFFFFFF
    return (x >> 16).double() / 65536 - 0.5


def is_patterned(name, tensor):
    return name.startswith("classifier.") and tensor.dim() == 2 and tensor.shape[1] > 300


def build(seed, number, bn, batch, image, keys):
    random = golden.Random(seed)
    model = golden.vgg(number, bool(bn), **keys)
    golden.randomize(model, random)
    with torch.no_grad():
        for salt, (name, tensor) in enumerate(model.state_dict().items()):
            if is_patterned(name, tensor):
                scale = 2.0 ** -5 if tensor.shape[1] > 1024 else 2.0 ** -2
                tensor.copy_(scale * pattern(tensor.numel(), salt).reshape(tensor.shape))
    x = random.normal(batch, 3, *(image if isinstance(image, tuple) else (image, image)))
    labels = random.labels(batch, keys.get("classes", 10))
    return model, x, labels


def training(model):
    """Batch statistics, but no dropout."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.eval()


def margin(*case):
    model, x, _ = build(*case)
    training(model)
    kinks = golden.Kinks(model)
    with torch.no_grad():
        model(x)
    return kinks.margin


def compute(name, number, bn, batch, image, keys):
    case = (number, bn, batch, image, keys)
    best = max(range(SEEDS), key=lambda seed: margin(seed, *case))
    model, x, labels = build(best, *case)
    state = golden.state(model)
    expected = {"input": x.half(), "labels": labels}
    model.eval()
    with torch.no_grad():
        expected["logits_eval"] = golden.single(model(x))
    training(model)
    logits = model(x)
    loss = nn.functional.cross_entropy(logits, labels)
    loss.backward()
    expected["logits_train"] = golden.single(logits)
    expected["loss"] = golden.single(loss.reshape(1))
    for n, p in model.named_parameters():
        if is_patterned(n, p):
            expected["rows." + n] = golden.single(p.grad @ pattern(p.shape[1], 1))
            expected["columns." + n] = golden.single(pattern(p.shape[0], 2) @ p.grad)
            del state[n]
        else:
            expected["grad." + n] = golden.single(p.grad)
    for n, b in model.named_buffers():
        expected["after." + n] = golden.single(b)
    if isinstance(image, tuple):
        image = "x".join(map(str, image))
    keys = {"width": 1, "classes": 10, "image": image, **keys}
    print(f"{name}: seed {best}, margin {margin(best, *case):.1e}, loss {loss.item():.4f}")
    return {f"{name}.safetensors": (state, {"format": "pt"}),
            f"{name}_expected.safetensors":
                (expected, {"spec": golden.spec_of(number, bn, **keys)})}


def names():
    """MODEL NAME SHAPE of every tensor of torchvision's networks with ten classes."""
    lines = []
    for number in (11, 13, 16, 19):
        for end in ("", "_bn"):
            with torch.device("meta"):
                model = getattr(torchvision.models, f"vgg{number}{end}")(num_classes=10)
            for name, tensor in model.state_dict().items():
                shape = ",".join(map(str, tensor.shape))
                lines.append(f"vgg{number}{end} {name} {shape or '-'}\n")
    return "".join(lines)


def make():
    files = {}
    for case in CASES:
        files.update(compute(*case))
    files["names.txt"] = names()
    return files
