# SPDX-License-Identifier: MIT
"""Ten steps of SGD with the distillation loss: train.safetensors.

    metadata: spec (the student's)
    input (float16), labels, teacher    pictures, and the teacher's logits for them: the teacher is
                                        vgg16_bn.safetensors in evaluation mode
    batches                             which of them each step sees
    start.NAME                          the student's parameters and buffers before
    VARIANT.losses                      of each step, before it
    VARIANT.end.NAME                    parameters and buffers after the last
"decay_some" decays neither norms nor biases; "nesterov" has Nesterov's momentum and decays all.
The seed is the first whose course stays away from kinks (golden.Kinks) in both variants: a gradient
that jumps would make the end a matter of rounding.
"""
import torch
from torch import nn

import golden
import models

NUMBER, KEYS = 8, {"width": 0.03125}
STEPS, BATCH, PICTURES, IMAGE = 10, 4, 12, 32
LR, MOMENTUM, DECAY = 0.05, 0.9, 5e-4
HARD, SOFT, TEMPERATURE = 0.1, 0.9, 4.0
MARGIN = 1e-5
VARIANTS = {"decay_some": (False, False), "nesterov": (True, True)}


def teacher_logits(x):
    _, number, bn, _, _, keys = next(c for c in models.CASES if c[0] == "vgg16_bn")
    model = golden.vgg(number, bool(bn), **keys)
    model.load_state_dict(golden.load(f"{golden.FOLDER}/vgg16_bn.safetensors")[0])
    model.eval()
    with torch.no_grad():
        return model(x).float().double()


class Course:
    """What the steps start from and see."""

    def __init__(self, seed):
        random = golden.Random(seed)
        model = golden.vgg(NUMBER, True, **KEYS)
        golden.randomize(model, random)
        self.start = golden.state(model)
        self.labels = torch.arange(PICTURES) % 10
        means = random.normal(10, 3, 8, 8).repeat_interleave(4, 2).repeat_interleave(4, 3)
        noise = random.normal(PICTURES, 3, IMAGE, IMAGE)
        self.x = ((means[self.labels] + noise) * 64).round() / 128
        self.teacher = teacher_logits(self.x)
        self.batches = torch.stack([torch.from_numpy(random.state.permutation(PICTURES)[:BATCH])
                                    for _ in range(STEPS)])

    def walk(self, nesterov, decay_all, dtype, least=0.0):
        """Losses, the model after the last step and the margin; gives up below `least`."""
        model = golden.vgg(NUMBER, True, **KEYS).to(dtype)
        model.load_state_dict(self.start)
        model.train()
        kinks = golden.Kinks(model)
        weights = [p for p in model.parameters() if decay_all or p.dim() > 1]
        others = [p for p in model.parameters() if not decay_all and p.dim() <= 1]
        optimizer = torch.optim.SGD(
            [{"params": weights, "weight_decay": DECAY}, {"params": others, "weight_decay": 0}],
            lr=LR, momentum=MOMENTUM, nesterov=nesterov)
        losses = []
        for batch in self.batches:
            logits = model(self.x[batch].to(dtype))
            if kinks.margin < least:
                break
            loss = HARD * nn.functional.cross_entropy(logits, self.labels[batch]) \
                + SOFT * golden.distillation(logits, self.teacher[batch].to(dtype), TEMPERATURE)
            losses.append(loss.detach())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return torch.stack(losses) if losses else None, model, kinks.margin


def calm(seed):
    course = Course(seed)
    return all(course.walk(*v, torch.float64, MARGIN)[2] >= MARGIN for v in VARIANTS.values())


def make():
    seed = 0
    while not calm(seed):
        seed += 1
    course = Course(seed)
    tensors = {"input": course.x.half(), "labels": course.labels,
               "teacher": golden.single(course.teacher), "batches": course.batches}
    tensors.update({f"start.{n}": t for n, t in course.start.items()})
    for name, variant in VARIANTS.items():
        losses, model, margin = course.walk(*variant, torch.float64)
        rough, rough_model, _ = course.walk(*variant, torch.float32)
        tensors[f"{name}.losses"] = golden.single(losses)
        tensors.update({f"{name}.end.{n}": t for n, t in golden.state(model).items()})
        worst = max(((p.double() - q).abs().max() / q.abs().max()).item()
                    for p, q in zip(rough_model.parameters(), model.parameters()))
        print(f"{name}: seed {seed}, margin {margin:.1e}, losses "
              f"{[round(v, 4) for v in losses.tolist()]}; PyTorch's own float32: losses off by "
              f"{((rough - losses).abs() / losses.max()).max().item():.1e}, weights by {worst:.1e}")
    spec = golden.spec_of(NUMBER, True, **KEYS, classes=10, image=IMAGE)
    return {"train.safetensors": (tensors, {"spec": spec})}
