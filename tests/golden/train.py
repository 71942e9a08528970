# SPDX-License-Identifier: MIT
"""Ten steps of SGD with the distillation loss: train.safetensors.

The student starts as vgg8_bn.safetensors; the teacher is vgg16_bn.safetensors in evaluation mode.
    input (float16), labels, teacher    pictures, and the teacher's logits for them
    batches                             which of them each step sees
    VARIANT.losses                      of each step, before it
    VARIANT.param.NAME, VARIANT.buffer.NAME     after the last
"decay_some" decays neither norms nor biases; "nesterov" has Nesterov's momentum and decays all.
"""
import json

import torch
from torch import nn

import golden
import models

STEPS, BATCH, PICTURES = 10, 8, 16
LR, MOMENTUM, DECAY = 0.05, 0.9, 5e-4
HARD, SOFT, TEMPERATURE = 0.1, 0.9, 4.0
VARIANTS = {"decay_some": (False, False), "nesterov": (True, True)}


def network(name, dtype):
    _, number, bn, _, _, keys = next(c for c in models.CASES if c[0] == name)
    model = golden.vgg(number, bool(bn), **keys).to(dtype)
    tensors, _ = golden.load(f"{golden.FOLDER}/{name}.safetensors")
    model.load_state_dict(tensors)
    return model


def steps(nesterov, decay_all, x, labels, teacher, batches, dtype):
    model = network("vgg8_bn", dtype)
    model.train()
    weights = [p for p in model.parameters() if decay_all or p.dim() > 1]
    others = [p for p in model.parameters() if not decay_all and p.dim() <= 1]
    optimizer = torch.optim.SGD(
        [{"params": weights, "weight_decay": DECAY}, {"params": others, "weight_decay": 0}],
        lr=LR, momentum=MOMENTUM, nesterov=nesterov)
    losses = []
    for batch in batches:
        logits = model(x[batch].to(dtype))
        loss = HARD * nn.functional.cross_entropy(logits, labels[batch]) \
            + SOFT * golden.distillation(logits, teacher[batch].to(dtype), TEMPERATURE)
        losses.append(loss.detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return torch.stack(losses), model


def make():
    random = golden.Random(4)
    labels = torch.arange(PICTURES) % 10
    means = random.normal(10, 3, 8, 8).repeat_interleave(4, 2).repeat_interleave(4, 3)
    x = ((means[labels] + random.normal(PICTURES, 3, 32, 32)) * 64).round() / 128
    teacher = network("vgg16_bn", torch.float64)
    teacher.eval()
    with torch.no_grad():
        logits = teacher(x)
    logits = logits.float().double()
    batches = torch.stack([torch.from_numpy(random.state.permutation(PICTURES)[:BATCH])
                           for _ in range(STEPS)])
    tensors = {"input": x.half(), "labels": labels, "teacher": golden.single(logits),
               "batches": batches}
    for name, (nesterov, decay_all) in VARIANTS.items():
        losses, model = steps(nesterov, decay_all, x, labels, logits, batches, torch.float64)
        rough, rough_model = steps(nesterov, decay_all, x, labels, logits, batches, torch.float32)
        tensors[f"{name}.losses"] = golden.single(losses)
        for n, p in model.named_parameters():
            tensors[f"{name}.param.{n}"] = golden.single(p)
        for n, b in model.named_buffers():
            tensors[f"{name}.buffer.{n}"] = golden.single(b)
        worst = max(((p.double() - q).abs().max() / q.abs().max()).item()
                    for p, q in zip(rough_model.parameters(), model.parameters()))
        print(f"{name}: losses {[round(v, 4) for v in losses.tolist()]}; PyTorch's own float32: "
              f"losses off by {((rough - losses).abs() / losses).max().item():.1e}, "
              f"weights by {worst:.1e}")
    options = {"lr": LR, "momentum": MOMENTUM, "weight_decay": DECAY, "hard": HARD, "soft": SOFT,
               "temperature": TEMPERATURE}
    return {"train.safetensors": (tensors, {"options": json.dumps(options)})}
