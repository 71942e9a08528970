# SPDX-License-Identifier: MIT
"""Golden losses on features and their gradients, made by PyTorch in double precision.

    python3 tests/golden/features.py > tests/op/golden_features.h

The losses are written as their authors published them: relational distillation (Park et al. 2019),
attention transfer (Zagoruyko & Komodakis 2017, as in RepDistiller).
"""
import torch
import torch.nn.functional as F

from c_arrays import array, loss_and_gradient
from random_numbers import Random

N, K = 6, 7


def pdist(e, squared=False, eps=1e-12):
    square, product = e.pow(2).sum(1), e @ e.t()
    res = (square.unsqueeze(1) + square.unsqueeze(0) - 2 * product).clamp(min=eps)
    res = res if squared else res.sqrt()
    res = res.clone()
    res[range(len(e)), range(len(e))] = 0
    return res


def rkd(student, teacher, distance, angle):
    """As Park et al. published it."""
    with torch.no_grad():
        td = (teacher.unsqueeze(0) - teacher.unsqueeze(1))
        norm = F.normalize(td, p=2, dim=2)
        t_angle = torch.bmm(norm, norm.transpose(1, 2)).view(-1)
        t_d = pdist(teacher)
        t_d = t_d / t_d[t_d > 0].mean()
    sd = (student.unsqueeze(0) - student.unsqueeze(1))
    norm = F.normalize(sd, p=2, dim=2)
    s_angle = torch.bmm(norm, norm.transpose(1, 2)).view(-1)
    d = pdist(student)
    d = d / d[d > 0].mean()
    return distance * F.smooth_l1_loss(d, t_d) + angle * F.smooth_l1_loss(s_angle, t_angle)


def transfer(student, teacher):
    """Attention transfer of maps [n,c,h,w], as in RepDistiller."""
    at = lambda f: F.normalize(f.pow(2).mean(1).view(f.size(0), -1))
    return (at(student) - at(teacher)).pow(2).mean()


def main():
    random = Random(2)
    student = random.exact(N, K, scale=3)
    teacher = random.exact(N, K, scale=4)
    print("/* SPDX-License-" "Identifier: MIT\n"
          " * golden_features.h: made by tests/golden/features.py with PyTorch, in double precision.\n"
          " * For each loss its value and its gradient by the student's features. */")
    print("enum { FEATURE_N = %d, FEATURE_K = %d };" % (N, K))
    array("rows", student.flatten().tolist())
    array("teacher_rows", teacher.flatten().tolist())
    other = random.exact(N, K + 2, scale=2)
    array("other", other.flatten().tolist())
    # Maps of 2 channels and 3 x 3 places, and of 3 channels: channels last here, first for PyTorch.
    map_s, map_t = random.exact(N, 3, 3, 2), random.exact(N, 3, 3, 3)
    array("map", map_s.flatten().tolist())
    array("teacher_map", map_t.flatten().tolist())
    first = lambda x: x.permute(0, 3, 1, 2)
    features = {
        "mse": (student, lambda x: F.mse_loss(x, teacher)),
        "cosine": (student, lambda x: (1 - F.cosine_similarity(x, teacher)).mean()),
        "rkd": (student, lambda x: rkd(x, other, 25.0, 50.0)),
        "rkd_distance": (student, lambda x: rkd(x, other, 1.0, 0.0)),
        "rkd_angle": (student, lambda x: rkd(x, other, 0.0, 1.0)),
        "kl": (F.softmax(student, 1), lambda x: F.kl_div(x.log(), F.softmax(teacher, 1),
                                                         reduction="batchmean")),
        "at": (map_s, lambda x: transfer(first(x), first(map_t))),
    }
    for name, (x, loss) in features.items():
        loss_and_gradient(name, loss, x)


main()
