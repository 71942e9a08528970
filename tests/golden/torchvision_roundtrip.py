#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Networks between torchvision and the kd command, both ways.

torchvision_roundtrip.py KD [predict|load|step]...      KD: the path of the kd binary

predict   torchvision's VGGs at full size with random weights, saved as safetensors: the logits of
          kd predict
load      a network that kd train wrote goes into torchvision by load_state_dict(strict=True):
          its logits there and by kd predict
step      kd step, plain and with a teacher's logits: loss, logits, gradients, the weights after
          the step and the batch norms' buffers; at an eighth of the width

Everything is compared with PyTorch in double precision; its own float32 error stands beside ours.
A difference is relative to a tensor's largest number. Batches for steps are such that no ReLU and
no max pool stands so near its kink that rounding chooses the side: there a gradient jumps, in any
implementation.
"""
import os
import subprocess
import sys
import tempfile

import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn

import golden

BATCH, WIDTH = 4, 0.125  # of a step
failures = 0


def run(*arguments):
    print("  $ " + " ".join(os.path.basename(a) for a in arguments))
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"exit status {done.returncode}: {done.stderr.strip()}")


def distance(got, want, beside=0.0):
    """beside: the scale of a tensor that is nothing but rounding (a bias before a batch norm)."""
    scale = want.abs().max().item()
    scale = scale if scale > 1e-9 else beside
    return (got.double() - want.double()).abs().max().item() / scale if scale else 0.0


def report(what, error, tolerance, own=None):
    global failures
    bad = not error <= tolerance
    failures += bad
    beside = "" if own is None else f"   PyTorch's float32: {own:.1e}"
    print(f"  {what:<28} {error:.1e}{beside}{'   TOO LARGE' if bad else ''}")


def statistics(model, random):
    """Batch norm's buffers as if it had been trained."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(random.exact(module.num_features, scale=0.1))
            module.running_var.copy_(1 + random.exact(module.num_features).abs())


def logits_of(kd, model, path, spec, folder, x):
    """kd predict's, PyTorch's in double precision and in single."""
    given, answer = f"{folder}/input.safetensors", f"{folder}/output.safetensors"
    save_file({"input": x.float().contiguous()}, given)
    run(kd, "predict", path, given, answer, *(["--model", spec] if spec else []))
    model.eval()
    with torch.no_grad():
        single = model.float()(x.float())
        double = model.double()(x.double())
    return load_file(answer)["logits"], double, single


def predict(kd, folder):
    for name in ("vgg11_bn", "vgg16"):
        print(f"{name}, 224 px, 1000 classes, {name}.safetensors by torchvision")
        torch.manual_seed(1)
        random = golden.Random(1)
        with torch.no_grad():
            model = getattr(torchvision.models, name)()
            statistics(model, random)
        path = f"{folder}/{name}.safetensors"
        save_file(model.state_dict(), path, {"format": "pt"})
        ours, double, single = logits_of(kd, model, path,
                                         f"{name},classes=1000,image=224,head=fc4096", folder,
                                         random.normal(3, 3, 224, 224))
        report("logits", distance(ours, double), 1e-4, distance(single, double))
        agree = (ours.argmax(1) == double.argmax(1)).all().item()
        print(f"  largest logit {double.abs().max().item():.3g}, classes "
              f"{'agree' if agree else 'DIFFER'}")
        os.remove(path)


def load(kd, folder):
    specs = (("vgg11_bn,classes=10,image=32,head=fc4096",
              lambda: torchvision.models.vgg11_bn(num_classes=10)),
             ("vgg16,classes=10,image=32,head=fc4096",
              lambda: torchvision.models.vgg16(num_classes=10)),
             ("vgg8_bn,classes=10,image=32,head=gap", lambda: golden.vgg(8, True)),
             ("vgg13_bn,classes=10,image=32,head=gap,pool4=0",
              lambda: golden.vgg(13, True, pool4=0)))
    for spec, make in specs:
        print(f"{spec}, written by kd train")
        out = f"{folder}/trained"
        run(kd, "train", spec, "--data", "synthetic", "--batch", "16", "--max-steps", "3",
            "--lr", "0.01", "--out", out, "--quiet")
        path = f"{out}/model.safetensors"
        tensors = load_file(path)
        model = make().float()
        fresh = model.state_dict()
        model.load_state_dict(tensors, strict=True)
        same = {n: (t.dtype, t.shape) for n, t in fresh.items()} == \
            {n: (t.dtype, t.shape) for n, t in tensors.items()}
        print(f"  {len(tensors)} tensors, names, types and shapes "
              f"{'are the same' if same else 'DIFFER'}")
        ours, double, single = logits_of(kd, model, path, None, folder,
                                         golden.Random(2).normal(5, 3, 32, 32))
        report("logits", distance(ours, double), 1e-4, distance(single, double))
        for name in os.listdir(out):
            os.remove(f"{out}/{name}")


def one_step(model, x, labels, teacher, options):
    """Loss, logits and gradients; the model is left after the step."""
    dtype = next(model.parameters()).dtype
    model.train()
    logits = model(x.to(dtype))
    loss = nn.functional.cross_entropy(logits, labels)
    if teacher is not None:
        loss = options["hard"] * loss + options["soft"] * golden.distillation(
            logits, teacher.to(dtype), options["temperature"])
    loss.backward()
    weights = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    torch.optim.SGD([{"params": weights, "weight_decay": options["weight-decay"]},
                     {"params": others, "weight_decay": 0}],
                    lr=options["lr"], momentum=0.9).step()
    result = {"loss": loss.detach().reshape(1), "logits": logits.detach()}
    result.update({"grad." + n: p.grad for n, p in model.named_parameters()})
    result.update({"param." + n: p.detach() for n, p in model.named_parameters()})
    result.update({"buffer." + n: b for n, b in model.named_buffers()})
    return result


def inputs_of(model, x):
    """What every ReLU and max pool is given."""
    seen = []

    def note(module, given):
        seen.append((module, given[0].detach().clone()))

    hooks = [m.register_forward_pre_hook(note) for m in model.modules()
             if isinstance(m, (nn.ReLU, nn.MaxPool2d))]
    model.train()
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return seen


def calm(number, bn, state, x):
    """Whether everything is further from a kink than five times PyTorch's float32 error there."""
    models = [golden.vgg(number, bn, WIDTH), golden.vgg(number, bn, WIDTH).float()]
    for model in models:
        model.load_state_dict(state)
    doubles, singles = inputs_of(models[0], x), inputs_of(models[1], x.float())
    for (module, double), (_, single) in zip(doubles, singles):
        error = 5 * (single.double() - double).abs().max().item()
        if isinstance(module, nn.ReLU):
            near = double.abs() < error
        else:
            n, c, h, w = double.shape
            windows = double.reshape(n, c, h // 2, 2, w // 2, 2).transpose(3, 4).flatten(4)
            top = windows.topk(2).values
            near = (top[..., 0] > 0) & (top[..., 0] - top[..., 1] < error)
        if near.any():
            return False
    return True


def calm_batch(number, bn, state, random):
    while True:
        x = random.normal(BATCH, 3, 32, 32)
        if calm(number, bn, state, x):
            return x


def step(kd, folder):
    random = golden.Random(3)
    for number, bn in ((8, True), (11, True), (16, False)):
        for distill in (False, True):
            spec = f"vgg{number}{'_bn' if bn else ''},classes=10,image=32,width={WIDTH}"
            print(f"{spec}, a step {'with' if distill else 'without'} a teacher")
            model = golden.vgg(number, bn, WIDTH)
            golden.randomize(model, random)
            path, given = f"{folder}/model.safetensors", f"{folder}/batch.safetensors"
            answer = f"{folder}/step.safetensors"
            save_file(golden.state(model), path, {"format": "pt"})
            x = calm_batch(number, bn, model.state_dict(), random)
            labels = random.labels(BATCH, 10)
            teacher = random.normal(BATCH, 10, scale=2) if distill else None
            batch = {"input": x.float(), "labels": labels}
            options = {"lr": 0.05, "weight-decay": 5e-4}
            if distill:
                batch["teacher_logits"] = teacher.float()
                options.update({"hard": 0.1, "soft": 0.9, "temperature": 4.0})
            save_file(batch, given)
            words = [w for key, value in options.items() for w in ("--" + key, str(value))]
            run(kd, "step", path, given, answer, "--model", spec, *words)
            ours = load_file(answer)
            rough = golden.vgg(number, bn, WIDTH)
            rough.load_state_dict(model.state_dict())
            double = one_step(model, x, labels, teacher, options)
            single = one_step(rough.float(), x, labels, teacher, options)
            if ours.keys() != double.keys():
                sys.exit(f"tensors differ: {sorted(ours.keys() ^ double.keys())}")
            for kind, tolerance in (("loss", 1e-5), ("logits", 1e-4), ("grad.", 1e-4),
                                    ("param.", 1e-5), ("buffer.", 1e-4)):
                names = [n for n in double if n.startswith(kind)]
                if not names:
                    continue
                most = max(double[n].abs().max().item() for n in names)
                report(kind.rstrip(".") + (f" ({len(names)} tensors)" if len(names) > 1 else ""),
                       max(distance(ours[n], double[n], most) for n in names), tolerance,
                       max(distance(single[n], double[n], most) for n in names))


PARTS = {"predict": predict, "load": load, "step": step}


def main(arguments):
    if not arguments or any(a not in PARTS for a in arguments[1:]):
        sys.exit(__doc__)
    kd = os.path.abspath(arguments[0])
    with tempfile.TemporaryDirectory() as folder:
        for part in arguments[1:] or PARTS:
            PARTS[part](kd, folder)
    sys.exit(1 if failures else 0)


main(sys.argv[1:])
