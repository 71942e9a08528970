# SPDX-License-Identifier: MIT
"""Ten steps of whole training runs with what PyTorch has for them: runs.safetensors.

    metadata: student, teacher0, teacher1     specs
    pictures (float16, whole numbers 0..255), labels; mean and deviation are 1/2 and 1/4
    start.NAME, teacher0.NAME, teacher1.NAME  parameters and buffers
    VARIANT.losses                            of each step, before it
    VARIANT.end.NAME                          parameters and buffers after the last
    ema.average.NAME                          of the variant "ema"
    partners [steps,pictures], shares         of the variant "mixup"

A step sees all pictures, so that an epoch is a step and the order of pictures does not matter.
    clip      torch.nn.utils.clip_grad_norm_, SGD with momentum, CosineAnnealingLR
    ema       torch.optim.swa_utils.AveragedModel with get_ema_multi_avg_fn
    teachers  two teachers with weights, torch's kl_div and cross_entropy
    equal     the same with equal weights
    dkd       decoupled distillation as mdistiller has it, its warm-up too
    mixup     cross_entropy with probabilities, label smoothing
The seed is the first whose course stays away from kinks in all variants (golden.Kinks).
"""
import torch
from torch import nn
from torch.nn import functional
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import golden

STEPS, PICTURES, IMAGE, CLASSES = 10, 12, 16, 6
CHANNELS = {"student": [4, 8], "teacher0": [8, 16], "teacher1": [4]}
SPECS = {"student": "vgg3_bn,width=0.0625,classes=6,image=16",
         "teacher0": "vgg3_bn,width=0.125,classes=6,image=16",
         "teacher1": "vgg2_bn,width=0.0625,classes=6,image=16"}
RATE, MOMENTUM, DECAY = 0.0625, 0.875, 2.0 ** -7
CLIP, EMA, HARD, SOFT, TEMPERATURE, SMOOTHING = 0.5, 0.75, 0.25, 0.75, 3.0, 0.125
WEIGHTS = {"teachers": [0.75, 0.25], "equal": [0.5, 0.5]}
ALPHA, BETA, WARM_UP = 2.0, 3.0, 4
MARGIN = 4e-6
VARIANTS = ["clip", "ema", "teachers", "equal", "dkd", "mixup"]


class Network(nn.Module):
    """vgg2_bn or vgg3_bn with torchvision's names."""

    def __init__(self, channels):
        super().__init__()
        layers, before = [], 3
        for c in channels:
            layers += [nn.Conv2d(before, c, 3, padding=1), nn.BatchNorm2d(c), nn.ReLU(), nn.MaxPool2d(2)]
            before = c
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(before, CLASSES)

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


def dkd(logits, teacher, labels, alpha, beta, temperature):
    """Zhao et al. 2022, equation 7 with mdistiller's T^2: of the target against all others, and among
    the others."""
    one = functional.one_hot(labels, CLASSES).bool()
    student, teacher = (torch.softmax(x / temperature, 1) for x in (logits, teacher))
    pair = [torch.stack([p[one], (p * ~one).sum(1)], 1) for p in (student, teacher)]
    tckd = functional.kl_div(pair[0].log(), pair[1], reduction="batchmean")
    others = [p[~one].view(-1, CLASSES - 1) for p in (student, teacher)]
    others = [p / p.sum(1, keepdim=True) for p in others]
    nckd = functional.kl_div(others[0].log(), others[1], reduction="batchmean")
    return temperature ** 2 * (alpha * tckd + beta * nckd)


class Course:
    """What all variants start from and see."""

    def __init__(self, seed):
        random = golden.Random(seed)
        self.models = {}
        for name, channels in CHANNELS.items():
            model = Network(channels).double()
            golden.randomize(model, random)
            self.models[name] = golden.state(model)
        self.labels = torch.arange(PICTURES) % CLASSES
        self.pixels = torch.from_numpy(random.state.randint(0, 256, (PICTURES, 3, IMAGE, IMAGE)))
        self.partners = torch.from_numpy(random.state.randint(0, CLASSES, (STEPS, PICTURES)))
        self.shares = torch.from_numpy(random.state.randint(0, 65, (STEPS, PICTURES))) / 64

    def make(self, name, dtype):
        model = Network(CHANNELS[name]).to(dtype)
        model.load_state_dict(self.models[name])
        return model

    def teachers(self, x, dtype):
        with torch.no_grad():
            return [self.make(n, dtype).eval()(x) for n in ("teacher0", "teacher1")]

    def loss(self, variant, step, logits, teachers):
        hard = functional.cross_entropy(logits, self.labels)
        if variant in WEIGHTS:
            soft = sum(w * golden.distillation(logits, t, TEMPERATURE)
                       for w, t in zip(WEIGHTS[variant], teachers))
            return HARD * hard + SOFT * soft
        if variant == "dkd":
            warm = min((step + 1) / WARM_UP, 1.0)
            return HARD * hard + warm * SOFT * dkd(logits, teachers[0], self.labels, ALPHA, BETA, TEMPERATURE)
        if variant == "mixup":
            share = self.shares[step].to(logits.dtype)[:, None]
            target = share * functional.one_hot(self.labels, CLASSES) \
                + (1 - share) * functional.one_hot(self.partners[step], CLASSES)
            return functional.cross_entropy(logits, target, label_smoothing=SMOOTHING)
        return hard

    def walk(self, variant, dtype, least=0.0):
        """Losses, the model, its average and the margin; gives up below `least`."""
        x = ((self.pixels.to(dtype) / 255) - 0.5) / 0.25
        model = self.make("student", dtype).train()
        kinks = golden.Kinks(model)
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(EMA))
        average.update_parameters(model)  # the first time this copies: the average starts here
        decayed = [p for p in model.parameters() if p.dim() > 1]
        others = [p for p in model.parameters() if p.dim() <= 1]
        optimizer = torch.optim.SGD([{"params": decayed, "weight_decay": DECAY},
                                     {"params": others, "weight_decay": 0}], lr=RATE, momentum=MOMENTUM)
        schedule = CosineAnnealingLR(optimizer, STEPS)
        teachers, losses = self.teachers(x, dtype), []
        for step in range(STEPS):
            logits = model(x)
            if kinks.margin < least:
                break
            loss = self.loss(variant, step, logits, teachers)
            losses.append(loss.detach())
            optimizer.zero_grad()
            loss.backward()
            if variant == "clip":
                nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            if variant == "clip":
                schedule.step()
            average.update_parameters(model)
        return losses, model, average.module, kinks.margin


def calm(seed):
    course = Course(seed)
    return all(course.walk(v, torch.float64, MARGIN)[3] >= MARGIN for v in VARIANTS)


def make():
    seed = 0
    while not calm(seed):
        seed += 1
    course = Course(seed)
    tensors = {"pictures": course.pixels.half(), "labels": course.labels, "partners": course.partners,
               "shares": golden.single(course.shares)}
    for name, state in course.models.items():
        prefix = "start" if name == "student" else name
        tensors.update({f"{prefix}.{n}": t for n, t in state.items()})
    for variant in VARIANTS:
        losses, model, average, margin = course.walk(variant, torch.float64)
        tensors[f"{variant}.losses"] = golden.single(torch.stack(losses))
        tensors.update({f"{variant}.end.{n}": t for n, t in golden.state(model).items()})
        if variant == "ema":
            tensors.update({f"ema.average.{n}": t for n, t in golden.state(average).items()})
        print(f"{variant}: seed {seed}, margin {margin:.1e}, losses {[round(v.item(), 4) for v in losses]}")
    return {"runs.safetensors": (tensors, dict(SPECS))}
