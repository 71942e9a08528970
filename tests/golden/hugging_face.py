#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Hugging Face's networks for image classification, read by kd under their own names.

hugging_face.py KD      KD: the path of the kd binary; needs torch, transformers and safetensors

Small networks with random weights are written as save_pretrained does and as their state_dict; the
logits of kd predict are compared with theirs. What has no classifier is refused.
"""
import os
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file
from transformers import (DeiTConfig, DeiTForImageClassification, SwinConfig,
                          DeiTForImageClassificationWithTeacher, DeiTForMaskedImageModeling,
                          SwinForImageClassification, ViTConfig, ViTForImageClassification, ViTModel)

SHAPE = {"image_size": 32, "patch_size": 4, "num_labels": 7}
VIT = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 96}
SWIN = {"embed_dim": 8, "depths": [2, 3], "num_heads": [2, 4], "window_size": 2}
VIT_SPEC = "image=32,patch=4,classes=7,dim=24,depth=3,heads=3"
SWIN_SPEC = "image=32,patch=4,classes=7,dim=8,depth=2-3,heads=2-4,window=2"
NETWORKS = (
    ("vit_tiny_patch16_224," + VIT_SPEC, ViTForImageClassification, ViTConfig(**SHAPE, **VIT)),
    ("deit_tiny_distilled_patch16_224," + VIT_SPEC, DeiTForImageClassificationWithTeacher,
     DeiTConfig(**SHAPE, **VIT)),
    ("deit_tiny_distilled_patch16_224," + VIT_SPEC, DeiTForImageClassification,
     DeiTConfig(**SHAPE, **VIT)),
    ("swin_tiny_patch4_window7_224," + SWIN_SPEC, SwinForImageClassification,
     SwinConfig(**SHAPE, **SWIN)),
)
REFUSED = (("vit_tiny_patch16_224," + VIT_SPEC, ViTModel, ViTConfig(**SHAPE, **VIT)),
           ("deit_tiny_distilled_patch16_224," + VIT_SPEC, DeiTForMaskedImageModeling,
            DeiTConfig(**SHAPE, **VIT)))
failures = 0


def predict(kd, folder, path, spec):
    return subprocess.run([kd, "predict", path, f"{folder}/input.safetensors",
                           f"{folder}/logits.safetensors", "--model", spec], capture_output=True,
                          text=True, check=False)


def report(what, error):
    global failures
    failures += not error <= 1e-4
    print(f"  {what:<48} {error:.1e}{'' if error <= 1e-4 else '   TOO LARGE'}")


def compare(kd, folder, spec, kind, config):
    torch.manual_seed(1)
    model = kind(config).eval()
    x = torch.randn(3, 3, 32, 32)
    save_file({"input": x}, f"{folder}/input.safetensors")
    model.save_pretrained(folder)
    save_file(model.state_dict(), f"{folder}/state.safetensors")
    with torch.no_grad():
        theirs = model(x)
    for name in ("model", "state"):
        done = predict(kd, folder, f"{folder}/{name}.safetensors", spec)
        if done.returncode:
            sys.exit(f"{kind.__name__}: {done.stderr.strip()}")
        answer = load_file(f"{folder}/logits.safetensors")
        for ours, want in (("logits", theirs.logits),
                           ("logits_cls", getattr(theirs, "cls_logits", None)),
                           ("logits_dist", getattr(theirs, "distillation_logits", None))):
            if want is not None:
                error = (answer[ours] - want).abs().max() / want.abs().max()
                report(f"{kind.__name__} ({name}): {ours}", error.item())


def refuse(kd, folder, spec, kind, config):
    global failures
    kind(config).save_pretrained(folder)
    done = predict(kd, folder, f"{folder}/model.safetensors", spec)
    failures += done.returncode == 0
    print(f"  {kind.__name__}: {done.stderr.strip() or 'TAKEN'}")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    kd = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        for network in NETWORKS:
            compare(kd, folder, *network)
        for network in REFUSED:
            refuse(kd, folder, *network)
    sys.exit(1 if failures else 0)


main()
