# SPDX-License-Identifier: MIT
"""Golden losses and their gradients, made by PyTorch in double precision.

    python3 tests/golden/losses.py > tests/op/golden_losses.h

The losses are written as their authors published them: torch's cross_entropy and kl_div; decoupled
distillation with the label masked by -1000 as in mdistiller; logit standardisation with torch.std.
"""
import torch
import torch.nn.functional as F

from c_arrays import array, loss_and_gradient
from random_numbers import Random

N, K, T = 6, 7, 4.0


def kd(student, teacher, t):
    return F.kl_div(F.log_softmax(student / t, 1), F.softmax(teacher / t, 1),
                    reduction="batchmean") * t * t


def hard(student, teacher):
    return F.cross_entropy(student, teacher.argmax(1))


def dkd(student, teacher, labels, t, alpha, beta):
    mask = F.one_hot(labels, student.shape[1]).to(student.dtype)
    two = lambda p: torch.stack([(p * mask).sum(1), (p * (1 - mask)).sum(1)], 1)
    p, q = F.softmax(student / t, 1), F.softmax(teacher / t, 1)
    tckd = F.kl_div(two(p).log(), two(q), reduction="sum")
    nckd = F.kl_div(F.log_softmax(student / t - 1000 * mask, 1),
                    F.softmax(teacher / t - 1000 * mask, 1), reduction="sum")
    return (alpha * tckd + beta * nckd) * t * t / len(labels)


def standardize(x):
    return (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-7)


def main():
    random = Random(1)
    student = random.exact(N, K, scale=3)
    teacher = random.exact(N, K, scale=4)
    weight = random.exact(N, K)
    labels = random.labels(N, K)
    print("/* SPDX-License-" "Identifier: MIT\n"
          " * golden_losses.h: made by tests/golden/losses.py with PyTorch, in double precision.\n"
          " * For each loss its value and its gradient by the student's logits; for softmax and\n"
          " * standardize the result and the gradient of sum(result * weight). */")
    print("#include <stdint.h>\n\nenum { GOLDEN_N = %d, GOLDEN_K = %d };" % (N, K))
    array("student", student.flatten().tolist())
    array("teacher", teacher.flatten().tolist())
    array("weight", weight.flatten().tolist())
    array("labels", labels.tolist(), "int")
    losses = {
        "ce": lambda x: F.cross_entropy(x, labels),
        "ce_smooth": lambda x: F.cross_entropy(x, labels, label_smoothing=0.1),
        "kd": lambda x: kd(x, teacher, T),
        "kd_1": lambda x: kd(x, teacher, 1.0),
        "hard": lambda x: hard(x, teacher),
        "dkd": lambda x: dkd(x, teacher, labels, T, 1.0, 8.0),
        "kd_std": lambda x: kd(standardize(x), standardize(teacher), 2.0),
        "mix": lambda x: 0.1 * F.cross_entropy(x, labels) + 0.9 * kd(x, teacher, T),
    }
    for name, loss in losses.items():
        loss_and_gradient(name, loss, student)
    for name, fn in {"softmax": lambda x: F.softmax(x, 1), "standardize": standardize}.items():
        x = student.clone().requires_grad_()
        y = fn(x)
        (y * weight).sum().backward()
        array(name, y.flatten().tolist())
        array(name + "_grad", x.grad.flatten().tolist())


main()
