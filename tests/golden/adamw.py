# SPDX-License-Identifier: MIT
"""Ten steps of torch.optim.AdamW on a small smooth network: adamw.safetensors.

    metadata: rate, decay, clip         of every variant
    input, labels                       of every step
    start.NAME                          parameters before
    VARIANT.losses                      of each step, before it
    VARIANT.end.NAME, exp_avg.NAME,     parameters and the optimiser's state after the last
        exp_avg_sq.NAME
The network is norm(gelu(fc1(x))), then fc2 and cross-entropy. "plain" has AdamW's usual betas and eps
and decays the weights of linear layers only; "clipped" has others, decays all, and limits the norm of
the gradient, which is above the limit in some of the steps.
"""
import torch
from torch import nn

import golden

STEPS, BATCH, WIDTH, HIDDEN, CLASSES = 10, 6, 7, 19, 5
RATE, DECAY, CLIP = 0.0078125, 0.125, 2.75
VARIANTS = {"plain": {"betas": (0.9, 0.999), "eps": 1e-8},
            "clipped": {"betas": (0.75, 0.9375), "eps": 2.0 ** -10}}


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(WIDTH, HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, CLASSES)

    def forward(self, x):
        return self.fc2(self.norm(nn.functional.gelu(self.fc1(x))))


def walk(start, x, labels, variant, dtype=torch.float64):
    model = Network().to(dtype)
    model.load_state_dict(start)
    all_of_them = variant == "clipped"
    decayed = [p for p in model.parameters() if all_of_them or p.dim() > 1]
    others = [p for p in model.parameters() if not all_of_them and p.dim() <= 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": DECAY},
                                   {"params": others, "weight_decay": 0}],
                                  lr=RATE, **VARIANTS[variant])
    losses, norms = [], []
    for i in range(STEPS):
        loss = nn.functional.cross_entropy(model(x[i].to(dtype)), labels[i])
        losses.append(loss.detach())
        optimizer.zero_grad()
        loss.backward()
        if variant == "clipped":
            norms.append(nn.utils.clip_grad_norm_(model.parameters(), CLIP).item())
        optimizer.step()
    return torch.stack(losses), model, optimizer, norms


def make():
    random = golden.Random(1)
    model = Network().double()
    golden.randomize(model, random)
    start = model.state_dict()
    x = random.normal(STEPS, BATCH, WIDTH)
    labels = random.labels(STEPS * BATCH, CLASSES).reshape(STEPS, BATCH)
    tensors = {"input": golden.single(x), "labels": labels}
    tensors.update({f"start.{n}": golden.single(t) for n, t in start.items()})
    for variant in VARIANTS:
        losses, model, optimizer, norms = walk(start, x, labels, variant)
        tensors[f"{variant}.losses"] = golden.single(losses)
        for name, p in model.named_parameters():
            tensors[f"{variant}.end.{name}"] = golden.single(p)
            for state in ("exp_avg", "exp_avg_sq"):
                tensors[f"{variant}.{state}.{name}"] = golden.single(optimizer.state[p][state])
        rough, rough_model, _, _ = walk(start, x, labels, variant, torch.float32)
        worst = max(((p.double() - q).abs().max() / q.abs().max()).item()
                    for p, q in zip(rough_model.parameters(), model.parameters()))
        print(f"{variant}: losses {[round(v, 4) for v in losses.tolist()]}, norms "
              f"{[round(v, 2) for v in norms]}; PyTorch's own float32: losses off by "
              f"{((rough - losses).abs() / losses.max()).max().item():.1e}, weights by {worst:.1e}")
    metadata = {"rate": str(RATE), "decay": str(DECAY), "clip": str(CLIP)}
    return {"adamw.safetensors": (tensors, metadata)}
