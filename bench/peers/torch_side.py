#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""PyTorch's side of a comparison: torch_side.py WORK FOLDER SETTING THREADS. FOLDER holds what our
side dumped: the weights, the batch, and what it computed. Speaks the protocol of bench/steps.c."""

import os
import resource
import sys
import time

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

CONVS = {8: [1, 1, 1, 1, 1], 13: [2, 2, 2, 2, 2], 16: [2, 2, 3, 3, 3]}
CHANNELS = [64, 128, 256, 512, 512]


class VGG(nn.Module):
    def __init__(self, layers, norm, dense, classes):
        super().__init__()
        parts, channels = [], 3
        for stage, convs in enumerate(CONVS[layers]):
            for _ in range(convs):
                parts.append(nn.Conv2d(channels, CHANNELS[stage], 3, padding=1))
                channels = CHANNELS[stage]
                if norm:
                    parts.append(nn.BatchNorm2d(channels))
                parts.append(nn.ReLU(inplace=True))
            parts.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*parts)
        self.dense = dense
        if dense:
            self.classifier = nn.Sequential(
                nn.Linear(512 * 49, 4096), nn.ReLU(True), nn.Dropout(), nn.Linear(4096, 4096),
                nn.ReLU(True), nn.Dropout(), nn.Linear(4096, classes))
        else:
            self.classifier = nn.Linear(512, classes)

    def forward(self, x):
        x = self.features(x)
        x = torch.flatten(x, 1) if self.dense else x.mean((2, 3))
        return self.classifier(x)


def transformer(name, **more):
    """timm's, whose attention is PyTorch's fused one."""
    import timm
    if name.startswith("vit"):
        more.update(img_size=32, patch_size=4, num_classes=10)
    return timm.create_model(name, drop_path_rate=0, **more)


def student_of(name):
    if "vit" in name:
        return transformer("vit_tiny_patch16_224")
    if "deit" in name:
        return transformer("deit_tiny_patch16_224")
    if "swin" in name:
        return transformer("swin_tiny_patch4_window7_224")
    large = "224" in name
    return VGG(8 if name == "kd_vgg13_vgg8" else 16, not large, large, 1000 if large else 10)


def teacher_of(name):
    return transformer("vit_small_patch16_224") if "vit" in name else VGG(13, True, False, 10)


def optimizer_of(model, vgg):
    """fused: PyTorch's quickest."""
    decay = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decay, "weight_decay": 5e-4 if vgg else 0.05},
              {"params": rest, "weight_decay": 0}]
    if vgg:
        return torch.optim.SGD(groups, lr=1e-3, momentum=0.9, fused=True)
    return torch.optim.AdamW(groups, lr=1e-3, fused=True)


class Work:
    def __init__(self, name, folder, setting, threads):
        torch.set_num_threads(threads)
        layout, mode = setting.split(",")
        self.format = torch.channels_last if layout == "channels_last" else torch.contiguous_format
        self.training = name.startswith(("kd", "train"))
        self.batch = load_file(os.path.join(folder, "batch.safetensors"))
        self.x = self.batch["input"].contiguous(memory_format=self.format)
        self.y = self.batch["labels"].long()
        self.student = self.load(student_of(name), folder, "student")
        self.teacher = None
        if name.startswith("kd"):
            self.teacher = self.load(teacher_of(name), folder, "teacher").eval()
        self.student.train(self.training)
        if self.training:
            self.optimizer = optimizer_of(self.student, isinstance(self.student, VGG))
        self.student_call, self.teacher_call = self.student, self.teacher
        if mode == "compile":
            if not self.training:
                import torch._inductor.config as config
                config.freezing = True
            self.student_call = torch.compile(self.student)
            if self.teacher is not None:
                self.teacher_call = torch.compile(self.teacher)

    def load(self, model, folder, which):
        missing, unexpected = model.load_state_dict(
            load_file(os.path.join(folder, which + ".safetensors")), strict=False)
        # What timm keeps beside its weights are tables that it computes.
        missing = [m for m in missing if not m.endswith(("relative_position_index", "attn_mask"))]
        if missing or unexpected:
            sys.exit(f"weights do not fit: {missing} {unexpected}")
        return model.to(memory_format=self.format)

    def forward_backward(self):
        if not self.training:
            with torch.inference_mode():
                return self.student_call(self.x), None
        logits_teacher = None
        if self.teacher is not None:
            with torch.no_grad():
                logits_teacher = self.teacher_call(self.x)
        self.optimizer.zero_grad(set_to_none=True)
        logits = self.student_call(self.x)
        loss = F.cross_entropy(logits, self.y)
        if logits_teacher is not None:
            kl = F.kl_div(F.log_softmax(logits / 4, 1), F.log_softmax(logits_teacher / 4, 1),
                          reduction="batchmean", log_target=True)
            loss = 0.1 * loss + 0.9 * 16 * kl
        loss.backward()
        return logits, loss

    def step(self):
        start = time.perf_counter()
        self.forward_backward()
        if self.training:
            self.optimizer.step()
        return time.perf_counter() - start

    def check(self):
        """The differences to ours, as a share of each tensor's Euclidean norm. A deep network's
        gradients jump where rounding decides which of a pool's inputs is larger or whether a ReLU
        is open: PyTorch's float32 is as far from its own float64 as ours is, some 5e-3."""
        def far(a, b):
            return float((a - b).norm() / b.norm().clamp_min(1e-8))
        logits, loss = self.forward_backward()
        worst = {"logits": far(logits.detach(), self.batch["logits"])}
        if self.training:
            worst["loss"] = far(loss.detach().reshape(1), self.batch["loss"])
            for name, p in self.student.named_parameters():
                ours = self.batch["grad." + name]
                # A bias before a batch norm has no gradient but rounding.
                if float(ours.abs().max()) > 1e-5:
                    worst["gradient"] = max(worst.get("gradient", 0), far(p.grad, ours))
        limit = {"logits": 1e-3, "loss": 1e-4, "gradient": 2e-2}
        for name, value in worst.items():
            if not value <= limit[name]:
                sys.exit(f"{name} differ by {value:.2e}")
        return " ".join(f"{name} {value:.1e}" for name, value in worst.items())


def main():
    name, folder, setting, threads = sys.argv[1:5]
    work = Work(name, folder, setting, int(threads))
    for line in sys.stdin:
        word = line.split()
        if word[0] == "run":
            for _ in range(int(word[1])):
                print(f"{work.step():.9f}")
        elif word[0] == "check":
            print(work.check())
        elif word[0] == "memory":
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
        print("done", flush=True)


if __name__ == "__main__":
    main()
