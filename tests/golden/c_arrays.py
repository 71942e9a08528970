# SPDX-License-Identifier: MIT
"""Golden numbers as C arrays, printed: for losses.py and features.py, which make headers."""


def array(name, values, kind="float"):
    """static const float (int: int32_t) golden_NAME[], to nine digits: float32 exactly."""
    text = [repr(v) if kind == "int" else "%.9g" % v for v in values]
    if kind == "float":
        text = [t + ("f" if "." in t or "e" in t else ".0f") for t in text]
    lines, line = [], "   "
    for t in text:
        if len(line) + len(t) + 2 > 98:
            lines.append(line)
            line = "   "
        line += " " + t + ","
    print("static const %s golden_%s[] = {" % ("int32_t" if kind == "int" else "float", name))
    print("\n".join(lines + [line]) + "\n};")


def loss_and_gradient(name, loss, x):
    """golden_NAME[1], loss(x); golden_NAME_grad, its gradient by x."""
    x = x.detach().clone().requires_grad_()
    value = loss(x)
    value.backward()
    array(name, [value.item()])
    array(name + "_grad", x.grad.flatten().tolist())
