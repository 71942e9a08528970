# SPDX-License-Identifier: MIT
"""Golden cases of transformers, made from timm.

NAME.safetensors            the state_dict as timm would save it
NAME_expected.safetensors   as models.py has them: metadata "spec"; input, labels; logits_eval; and of
                            one training pass without drop path logits_train, loss, grad.PARAMETER;
                            of ten steps of AdamW on that batch, adamw.losses (each before its step),
                            adamw.logits (after the last, evaluating); see decays()
resized.safetensors         CASE.IMAGE.NAME: what timm makes of a case's positions for pictures of IMAGE
deit_distilled.safetensors  deit_case's first step by a teacher, DeiT's way: teacher_logits; METHOD.loss
                            and METHOD.grad.PARAMETER, METHOD hard (halves) or soft (WEIGHTS)
full_transformers.safetensors
                            the networks at their own size, weights and pictures by the formula
                            below: SPEC.logits, SPEC.labels; SPEC.grads [parameters,2]: of each
                            gradient, names in order, the norm and the product with the formula;
                            SPEC.adamw.losses and SPEC.adamw.logits as above, at FULL_LR
"""
import timm
import torch
from timm.layers import resample_abs_pos_embed
from timm.layers.pos_embed_rel import resize_rel_pos_bias_table
from torch import nn

import golden
import models

VIT, DEIT, SWIN = ("vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224",
                   "swin_tiny_patch4_window7_224")
#        file                name  batch  keys of the spec
CASES = [("vit_case",        VIT,  3, {"image": 32, "patch": 4, "dim": 24, "depth": 3, "heads": 3,
                                       "classes": 7}),
         ("vit_odd_case",    VIT,  2, {"image": 35, "patch": 5, "channels": 1, "dim": 21, "depth": 1,
                                       "heads": 7, "mlp_ratio": 1.5, "classes": 3}),
         ("deit_case",       DEIT, 3, {"image": 32, "patch": 4, "dim": 20, "depth": 3, "heads": 5,
                                       "classes": 5}),
         # Maps of 8, 4, 2: windows of 3 divide neither of the first, and are more than the last.
         ("swin_case",       SWIN, 2, {"image": 32, "patch": 4, "dim": 8, "depth": [1, 3, 1],
                                       "heads": [2, 1, 4], "window": 3, "classes": 5}),
         ("swin_wide_case",  SWIN, 2, {"image": 32, "patch": 4, "dim": 9, "depth": [2, 2],
                                       "heads": [3, 2], "window": 7, "classes": 4}),
         # Maps of 9 and 5: an odd one is filled up before its pixels are merged.
         ("swin_odd_case",   SWIN, 3, {"image": 36, "patch": 4, "dim": 6, "depth": [3, 2],
                                       "heads": [3, 1], "window": 4, "mlp_ratio": 2, "classes": 6}),
         # Maps of 8x14, 4x7, 2x4: windows of 4x4, 4x4, 2x4, shifted both ways, along rows, not at all.
         ("swin_rect_case",  SWIN, 2, {"image": (32, 56), "patch": 4, "dim": 4, "depth": [2, 2, 2],
                                       "heads": [2, 1, 4], "window": 4, "classes": 5})]
RESIZED = [("vit_case", 56), ("vit_case", 24), ("deit_case", 48), ("swin_wide_case", 64),
           ("swin_case", 8)]
FULL = [(VIT, 2), (DEIT, 1), (SWIN, 1)]
ARGUMENTS = {"image": "img_size", "patch": "patch_size", "channels": "in_chans", "dim": "embed_dim",
             "classes": "num_classes", "mlp_ratio": "mlp_ratio", "window": "window_size"}


def build(name, keys, dtype=torch.float64):
    swin = name == SWIN
    arguments = {ARGUMENTS[k]: v for k, v in keys.items() if k in ARGUMENTS}
    for key, argument in (("depth", "depths" if swin else "depth"), ("heads", "num_heads")):
        if key in keys:
            arguments[argument] = tuple(keys[key]) if swin else keys[key]
    model = timm.create_model(name, pretrained=False, drop_path_rate=0, **arguments)
    return model.to(dtype)


def spec_of(name, keys):
    joint = {list: "-", tuple: "x"}
    text = {k: joint[type(v)].join(map(str, v)) if type(v) in joint else v
            for k, v in keys.items()}
    return ",".join([name] + [f"{k}={v}" for k, v in text.items()])


def randomize(model, random):
    """Weights that make attention choose, and positions that matter."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "norm" in name and name.endswith("weight"):
                x = 1 + 0.2 * random.exact(*tensor.shape)
            elif tensor.dim() > 1 and ("token" in name or "pos" in name):
                x = 0.5 * random.exact(*tensor.shape)
            elif tensor.dim() > 1:
                x = random.exact(*tensor.shape) * (1.5 / tensor[0].numel()) ** 0.5
            else:
                x = 0.2 * random.exact(*tensor.shape)
            tensor.copy_(x.float())


LR, FULL_LR, DECAY = 2e-3, 2e-5, 0.05


def decays(name, parameter):
    return parameter.dim() > 1 and not any(
        part in name for part in ("token", "pos_embed", "relative_position_bias_table"))


def steps(model, x, labels, lr):
    """Ten steps of AdamW. Only what they lead to is compared: a key's bias has no gradient but
    rounding, which AdamW makes as large as any other."""
    named = list(model.named_parameters())
    optimizer = torch.optim.AdamW(
        [{"params": [p for n, p in named if decays(n, p)], "weight_decay": DECAY},
         {"params": [p for n, p in named if not decays(n, p)], "weight_decay": 0}], lr=lr)
    losses = []
    for _ in range(10):
        loss = nn.functional.cross_entropy(model(x), labels)
        losses.append(loss.detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        return torch.stack(losses), model(x)


def case(file, name, batch, keys):
    random = golden.Random(len(file))
    model = build(name, keys)
    randomize(model, random)
    image = keys["image"]
    x = random.normal(batch, keys.get("channels", 3),
                      *(image if isinstance(image, tuple) else (image, image)))
    labels = random.labels(batch, keys["classes"])
    expected = {"input": x.half(), "labels": labels}
    model.eval()
    with torch.no_grad():
        expected["logits_eval"] = golden.single(model(x))
    if name == DEIT:
        with torch.no_grad():
            features = model.forward_features(x)
            expected["logits_cls"] = golden.single(model.head(features[:, 0]))
            expected["logits_dist"] = golden.single(model.head_dist(features[:, 1]))
    model.train()
    logits = model(x)
    loss = nn.functional.cross_entropy(logits, labels)
    loss.backward()
    expected["logits_train"] = golden.single(logits)
    expected["loss"] = golden.single(loss.reshape(1))
    for n, p in model.named_parameters():
        expected["grad." + n] = golden.single(p.grad)
    state = golden.state(model)
    losses, after = steps(model, x, labels, LR)
    expected["adamw.losses"], expected["adamw.logits"] = golden.single(losses), golden.single(after)
    print(f"{file}: {sum(p.numel() for p in model.parameters())} weights, losses "
          f"{[round(v, 3) for v in losses.tolist()]}")
    return state, expected


WEIGHTS, TEMPERATURE = (0.3, 0.7), 2.0


def distilled(state, expected, name, keys):
    """The class head learns the labels, the distillation head from the teacher."""
    random = golden.Random(5)
    labels = expected["labels"]
    teacher = random.exact(len(labels), keys["classes"], scale=3.0)
    tensors = {"teacher_logits": golden.single(teacher)}
    for method in ("hard", "soft"):
        model = build(name, keys)
        model.load_state_dict(state)
        model.train()
        model.set_distilled_training(True)
        of_class, of_teacher = model(expected["input"].double())
        by_labels = nn.functional.cross_entropy(of_class, labels)
        if method == "hard":
            loss = by_labels / 2 + nn.functional.cross_entropy(of_teacher, teacher.argmax(1)) / 2
        else:
            loss = WEIGHTS[0] * by_labels \
                + WEIGHTS[1] * golden.distillation(of_teacher, teacher, TEMPERATURE)
        loss.backward()
        tensors[f"{method}.loss"] = golden.single(loss.reshape(1))
        for n, p in model.named_parameters():
            tensors[f"{method}.grad.{n}"] = golden.single(p.grad)
    return tensors


def resized(state, name, keys, image):
    """What timm's loading makes of the positions."""
    model = build(name, {**keys, "image": image})
    out = {}
    for n, p in model.named_parameters():
        if n == "pos_embed":
            out[n] = resample_abs_pos_embed(state[n].double(), [image // keys["patch"]] * 2,
                                            num_prefix_tokens=model.num_prefix_tokens)
        elif n.endswith("relative_position_bias_table") and p.shape != state[n].shape:
            window = model.get_submodule(n.rsplit(".", 1)[0]).window_size
            out[n] = resize_rel_pos_bias_table(state[n], window, p.shape)
    return {n: golden.single(t) for n, t in out.items()}


def salt(name):
    """FNV-1a, 32 bits."""
    h = 2166136261
    for c in name.encode():
        h = ((h ^ c) * 16777619) & 0xFFFFFFFF
    return h


def formula(name, shape, scale):
    count = torch.Size(shape).numel()
    return (scale * models.pattern(count, salt(name))).reshape(shape)


def weights(name, shape):
    """Numbers of deviation about 1/sqrt(inputs); float32 holds them exactly."""
    if "norm" in name and name.endswith("weight"):
        return 1 + formula(name, shape, 0.5)
    scale = 0.5
    inputs = torch.Size(shape[1:]).numel() if len(shape) > 1 and "pos" not in name else 16
    while scale * scale * inputs > 8:
        scale /= 2
    return formula(name, shape, scale)


def full(name, batch):
    model = build(name, {})
    with torch.no_grad():
        for n, p in model.named_parameters():
            p.copy_(weights(n, p.shape))
    model.eval() # no dropout there
    x = formula("input", [batch, 3, 224, 224], 4)
    labels = torch.arange(batch) * 7 + 3
    logits = model(x)
    nn.functional.cross_entropy(logits, labels).backward()
    grads = [[p.grad.norm(), (p.grad * formula(n + ".grad", p.shape, 1)).sum()]
             for n, p in sorted(model.named_parameters())]
    losses, after = steps(model, x, labels, FULL_LR)
    print(f"{name}: largest logit {logits.abs().max().item():.3f}, losses "
          f"{[round(v, 3) for v in losses.tolist()]}")
    return {f"{name}.logits": golden.single(logits), f"{name}.labels": labels,
            f"{name}.grads": golden.single(torch.tensor(grads, dtype=torch.float64)),
            f"{name}.adamw.losses": golden.single(losses),
            f"{name}.adamw.logits": golden.single(after)}


def make():
    files, states = {}, {}
    for file, name, batch, keys in CASES:
        state, expected = case(file, name, batch, keys)
        states[file] = (state, name, keys)
        if name == DEIT:
            files["deit_distilled.safetensors"] = (distilled(state, expected, name, keys), {})
        files[f"{file}.safetensors"] = (state, {"format": "pt"})
        files[f"{file}_expected.safetensors"] = (expected, {"spec": spec_of(name, keys)})
    tensors = {}
    for file, image in RESIZED:
        for n, t in resized(*states[file], image).items():
            tensors[f"{file}.{image}.{n}"] = t
    files["resized.safetensors"] = (tensors, {})
    tensors = {}
    for name, batch in FULL:
        tensors.update(full(name, batch))
    files["full_transformers.safetensors"] = (tensors, {})
    return files
