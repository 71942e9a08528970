#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Transformers from timm to libkd and back, and from torchvision.

timm_roundtrip.py KD [NETWORK]...      KD: the path of the kd binary

Each of timm's networks at its own size goes through libkd: its state_dict is saved, loaded and
written again by kd (a fine-tuning at learning rate 1e-30, which writes a file of its own), and loaded by
timm with strict=True: every tensor is the same to the bit, and so are the logits of kd predict
for both files. Then other sizes of pictures and another number of classes: what kd finetune --image makes
of timm's file is what timm's own loading makes of it. Small networks of torchvision's: the logits of kd
predict under torchvision's names.
"""
import os
import subprocess
import sys
import tempfile

import timm
import torch
from safetensors.torch import load_file, save_file
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

NETWORKS = ("vit_tiny_patch16_224", "deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224",
            "swin_tiny_patch4_window7_224")
SIZES = (64, 256)  # maps of Swin's at 64 pixels are 16, 8, 4, 2: not sevenfold, or less than a window
failures = 0


def run(*arguments):
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)}: {done.stderr.strip()}")


def report(what, error, tolerance):
    global failures
    failures += not error <= tolerance
    print(f"  {what:<40} {error:.1e}{'' if error <= tolerance else '   TOO LARGE'}")


def predict(kd, folder, path, spec, x):
    given, answer = f"{folder}/input.safetensors", f"{folder}/logits.safetensors"
    save_file({"input": x}, given)
    run(kd, "predict", path, given, answer, *(["--model", spec] if spec else []))
    return load_file(answer)["logits"]


def difference(got, want):
    return ((got - want).abs().max() / want.abs().max()).item()


def finetune(kd, path, spec, data, out, *more):
    """A step that changes nothing: kd writes what it has read."""
    run(kd, "finetune", path, "--model", spec, "--data", data, "--batch", "1", "--max-steps", "1",
        "--lr", "1e-30", "--momentum", "0", "--weight-decay", "0", "--out", out, *more)
    return load_file(f"{out}/model.safetensors")


def random_model(name):
    torch.manual_seed(1)
    # Ten classes, which is what the synthetic pictures have: the head is kept, too.
    model = timm.create_model(name, num_classes=10).eval()
    with torch.no_grad():  # no weight is left so small that a step of 1e-30 changes it
        for p in model.parameters():
            p.add_(0.01 * torch.randn_like(p))
            p[p.abs() < 1e-9] = 1e-3
    return model


def round_trip(kd, folder, name):
    print(f"{name}: timm, kd, timm")
    model = random_model(name)
    x = torch.randn(2, 3, 224, 224)
    path, out, spec = f"{folder}/timm.safetensors", f"{folder}/{name}", f"{name},classes=10"
    save_file(model.state_dict(), path)
    again = finetune(kd, path, spec, "synthetic", out)
    state = model.state_dict()
    same = sum(torch.equal(again[n], t) for n, t in state.items() if n in again)
    report(f"{same} of {len(state)} tensors unchanged", len(state) - same, 0)
    other = timm.create_model(name, num_classes=10).eval()
    other.load_state_dict(again, strict=True)
    with torch.no_grad():
        report("logits of timm", difference(other(x), model(x)), 0)
        report("logits of kd, timm's file",
               difference(predict(kd, folder, path, spec, x), model(x)), 1e-4)
        report("logits of kd, its own file",
               difference(predict(kd, folder, f"{out}/model.safetensors", None, x), model(x)), 1e-4)


def filtered(name, model, state):
    """As timm loads a file for a network of another size."""
    module = timm.models.swin_transformer if "swin" in name else timm.models.vision_transformer
    return module.checkpoint_filter_fn(dict(state), model)


def resize(kd, folder, name, side):
    print(f"{name}: 224, then {side} pixels and 3 classes")
    state = random_model(name).state_dict()
    path, out = f"{folder}/timm.safetensors", f"{folder}/{name}-{side}"
    save_file(state, path)
    data = f"synthetic:classes=3,image={side},train=8,test=8"
    again = finetune(kd, path, f"{name},classes=10", data, out, "--image", str(side))
    other = timm.create_model(name, num_classes=3, img_size=side).eval()
    wanted = filtered(name, other, state)
    kept = [n for n in other.state_dict() if not n.startswith("head")]
    report(f"{len(kept)} tensors beside timm's", max(difference(again[n], wanted[n]) for n in kept),
           1e-5)
    other.load_state_dict(again, strict=True)
    x = torch.randn(2, 3, side, side)
    with torch.no_grad():
        report("logits of kd",
               difference(predict(kd, folder, f"{out}/model.safetensors", None, x), other(x)), 1e-4)


def torchvision(kd, folder):
    print("torchvision's names")
    torch.manual_seed(2)
    x, path = torch.randn(3, 3, 32, 32), f"{folder}/torchvision.safetensors"
    vit = VisionTransformer(32, 4, 3, 3, 36, 144, num_classes=7)
    torch.nn.init.normal_(vit.heads.head.weight)
    swin = SwinTransformer([4, 4], 16, [2, 2], [2, 4], [4, 4], num_classes=7)
    for name, model, keys in (("vit_tiny_patch16_224", vit, "dim=36,depth=3,heads=3"),
                              ("swin_tiny_patch4_window7_224", swin,
                               "dim=16,depth=2-2,heads=2-4,window=4")):
        model.eval()
        save_file(model.state_dict(), path)
        spec = f"{name},image=32,patch=4,classes=7,{keys}"
        with torch.no_grad():
            report(name, difference(predict(kd, folder, path, spec, x), model(x)), 1e-4)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[2:] or NETWORKS:
            round_trip(os.path.abspath(sys.argv[1]), folder, name)
            for side in SIZES:
                resize(os.path.abspath(sys.argv[1]), folder, name, side)
        torchvision(os.path.abspath(sys.argv[1]), folder)
    sys.exit(1 if failures else 0)


main()
