# SPDX-License-Identifier: MIT
"""Taps of the golden networks, by hooks on the modules of torchvision and timm: taps.safetensors.

CASE/NAME   what the network of CASE.safetensors has at the tap NAME when it evaluates the first
            picture of CASE_expected.safetensors; maps channels first where the module has them so.
Attentions are computed here from what the module qkv gives: softmax(q k^T / sqrt(d) + bias + mask).
"""
import torch

import golden
import models
import timm_models

VGG = ("vgg8_bn",)
TIMM = ("vit_case", "swin_case")


def look(module, name, out, change=lambda y: y):
    module.register_forward_hook(lambda m, x, y: out.__setitem__(name, change(y.detach())))


def attention(block, name, out):
    def hook(module, x, y):
        n, t, width = y.shape
        heads = block.attn.num_heads
        d = width // 3 // heads
        q, k, _ = y.detach().reshape(n, t, 3, heads, d).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / d ** 0.5
        if hasattr(block.attn, "_get_rel_pos_bias"):
            scores = scores + block.attn._get_rel_pos_bias()
            mask = block.attn_mask
            if mask is not None:
                windows = mask.shape[0]
                scores = scores.reshape(n // windows, windows, heads, t, t) + mask[:, None]
                scores = scores.reshape(n, heads, t, t)
        out[name] = scores.softmax(-1)
    block.attn.qkv.register_forward_hook(hook)


def of_vgg(name):
    case = next(c for c in models.CASES if c[0] == name)[1:]
    best = max(range(models.SEEDS), key=lambda seed: models.margin(seed, *case))
    model, x, _ = models.build(best, *case)
    out, stage = {}, 0
    last = None
    for module in model.features:
        if isinstance(module, torch.nn.ReLU):
            last = module
            module.inplace = False
        if isinstance(module, torch.nn.MaxPool2d):
            look(last, f"stages.{stage}", out)
            look(module, f"stages.{stage}.pool", out)
            stage += 1
    head = model.classifier
    linear = head if isinstance(head, torch.nn.Linear) else head[-1]
    linear.register_forward_pre_hook(
        lambda m, x: out.__setitem__("embedding", x[0].detach()))
    return model, x, out


def of_timm(file):
    _, name, batch, keys = next(c for c in timm_models.CASES if c[0] == file)
    random = golden.Random(len(file))
    model = timm_models.build(name, keys)
    timm_models.randomize(model, random)
    x = random.normal(batch, keys.get("channels", 3), keys["image"], keys["image"])
    out = {}
    if file.startswith("swin"):
        look(model.patch_embed, "patch_embed", out)
        for i, layer in enumerate(model.layers):
            for j, block in enumerate(layer.blocks):
                look(block, f"layers.{i}.blocks.{j}", out)
                attention(block, f"layers.{i}.blocks.{j}.attn", out)
            look(layer, f"layers.{i}", out)
        look(model.norm, "norm", out)
        look(model.norm, "embedding", out, lambda y: y.mean((1, 2)))
    else:
        model.blocks[0].register_forward_pre_hook(
            lambda m, x: out.__setitem__("patch_embed", x[0].detach()))
        for i, block in enumerate(model.blocks):
            look(block, f"blocks.{i}", out)
            attention(block, f"blocks.{i}.attn", out)
        look(model.norm, "norm", out)
        model.norm.register_forward_hook(
            lambda m, x, y: out.__setitem__("embedding", y[:, 0].detach()))
    return model, x, out


def make():
    tensors = {}
    for case in VGG + TIMM:
        model, x, out = of_vgg(case) if case in VGG else of_timm(case)
        model.eval()
        with torch.no_grad():
            model(x[:1])
        for name, y in out.items():
            tensors[f"{case}/{name}"] = golden.single(y)
    return {"taps.safetensors": (tensors, {"format": "pt"})}
