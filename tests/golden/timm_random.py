#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Networks of random sizes, ours beside timm's.

timm_random.py KD [COUNT] [SEED]      KD: the path of the kd binary; 50 networks

ViT, DeiT and Swin with random keys: pictures, patches, depths, heads, windows (larger than the map, or
not dividing it). Of each the logits of kd predict; and of kd step, with a rate that falls from layer
to layer and with weight decay, the loss and all parameters after a step in timm's parameter groups.
"""
import os
import random
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file
from timm.optim import param_groups_layer_decay
from torch import nn

import golden
import timm_models

LR, DECAY, FALL = 0.05, 0.05, 0.75
failures, worst = 0, {"logits": 0.0, "loss": 0.0, "parameters": 0.0}


def draw(r):
    name = r.choice([timm_models.VIT, timm_models.DEIT, timm_models.SWIN, timm_models.SWIN])
    patch = r.choice([1, 2, 3, 4, 5, 8])
    keys = {"patch": patch, "classes": r.randint(1, 12), "channels": r.choice([1, 3, 4]),
            "mlp_ratio": r.choice([1, 1.5, 2, 3.3, 4])}
    if name == timm_models.SWIN:
        stages, dim = r.randint(1, 4), r.choice([4, 6, 8, 12])
        keys.update(image=patch * r.randint(1, 14), window=r.randint(1, 9), dim=dim,
                    depth=[r.randint(1, 3) for _ in range(stages)],
                    heads=[r.choice([h for h in range(1, 13) if (dim << s) % h == 0])
                           for s in range(stages)])
    else:
        heads = r.randint(1, 5)
        keys.update(image=patch * r.randint(1, 10), heads=heads, depth=r.randint(1, 4),
                    dim=heads * r.randint(-(-4 // heads), 9))  # a norm of one number is all rounding
    return name, keys


def run(*arguments):
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)}: {done.stderr.strip()}")


def step(model, x, labels):
    groups = param_groups_layer_decay(model, weight_decay=DECAY, layer_decay=FALL,
                                      no_weight_decay_list=model.no_weight_decay())
    for group in groups:
        group["lr"] = LR * group["lr_scale"]
    optimizer = torch.optim.SGD(groups, lr=LR)
    loss = nn.functional.cross_entropy(model(x), labels)
    loss.backward()
    optimizer.step()
    return loss.detach()


def compare(what, spec, got, want, tolerance):
    global failures
    error = ((got.double() - want).abs().max() / want.abs().max().clamp(min=1e-6)).item()
    worst[what] = max(worst[what], error)
    if not error <= tolerance:
        failures += 1
        print(f"{spec}: {what} off by {error:.1e}")


def check(kd, folder, name, keys, seed):
    spec = timm_models.spec_of(name, keys)
    model = timm_models.build(name, keys)
    numbers = golden.Random(seed)
    timm_models.randomize(model, numbers)
    x = numbers.normal(3, keys["channels"], keys["image"], keys["image"])
    labels = numbers.labels(3, keys["classes"])
    path, batch, out = (f"{folder}/{n}.safetensors" for n in ("model", "batch", "out"))
    save_file(golden.state(model), path)
    save_file({"input": x.float(), "labels": labels}, batch)
    model.eval()
    run(kd, "predict", path, batch, out, "--model", spec)
    with torch.no_grad():
        compare("logits", spec, load_file(out)["logits"], model(x), 1e-5)
    run(kd, "step", path, batch, out, "--model", spec, "--lr", str(LR), "--momentum", "0",
        "--layer-decay", str(FALL), "--weight-decay", str(DECAY))
    after = load_file(out)
    if keys["classes"] > 1:  # else the loss is zero
        compare("loss", spec, after["loss"], step(model, x, labels).reshape(1), 1e-5)
        for n, p in model.named_parameters():
            compare("parameters", spec, after["param." + n], p.detach(), 1e-5)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    count, seed = (int(a) for a in (sys.argv[2:] + ["50", "1"][len(sys.argv) - 2:]))
    r = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        for i in range(count):
            check(os.path.abspath(sys.argv[1]), folder, *draw(r), i)
    print(f"{count} networks; at most " + ", ".join(f"{k} {v:.1e}" for k, v in worst.items()))
    sys.exit(1 if failures else 0)


main()
