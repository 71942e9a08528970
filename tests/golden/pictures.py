# SPDX-License-Identifier: MIT
"""Golden pictures: small synthetic files in many forms with the colours Pillow finds in them;
torchvision's and Pillow's resizing; RandAugment's operations as timm has them. All bytes."""
import io

import numpy as np
import torch
from PIL import Image
from timm.data import auto_augment
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

MEAN = (124, 116, 104)

# The order is that of kdi_rand_op in lib/data/randaugment_ops.h.
OPERATIONS = [
    ("AutoContrast", [0]), ("Equalize", [0]), ("Invert", [0]),
    ("Rotate", [27.5, -13.25, 30]), ("PosterizeIncreasing", [4, 1, 2]),
    ("SolarizeIncreasing", [26, 128, 256]), ("SolarizeAdd", [99, 0, 110]),
    ("ColorIncreasing", [.19, 1.81]), ("ContrastIncreasing", [.19, 1.81]),
    ("BrightnessIncreasing", [.19, 1.81]), ("SharpnessIncreasing", [.19, 1.81]),
    ("ShearX", [.27, -.3]), ("ShearY", [.27, -.3]),
    ("TranslateXRel", [.405, -.11]), ("TranslateYRel", [.405, -.11]),
]


def picture(seed, height, width):
    """Slopes, edges and noise."""
    state = np.random.RandomState(seed)
    y, x = np.mgrid[0:height, 0:width]
    out = np.zeros((height, width, 3))
    for c in range(3):
        angle = state.uniform(0, 2 * np.pi)
        slope = np.cos(angle) * x / width + np.sin(angle) * y / height
        out[..., c] = 128 + 90 * np.sin(4 * slope + state.uniform(0, 6))
    for _ in range(6):
        top, left = state.randint(0, height - 8), state.randint(0, width - 8)
        h, w = state.randint(4, height // 2), state.randint(4, width // 2)
        out[top:top + h, left:left + w] = state.randint(0, 256, 3)
    out[height // 2:, : width // 3] += state.normal(0, 40, (height - height // 2, width // 3, 3))
    return Image.fromarray(np.clip(np.round(out), 0, 255).astype(np.uint8))


def forms(image):
    """NAME, the file's bytes."""
    def saved(what, kind, **options):
        to = io.BytesIO()
        what.save(to, kind, **options)
        return to.getvalue()
    alpha = image.convert("L").point(lambda v: 255 - v)
    with_alpha = image.copy()
    with_alpha.putalpha(alpha)
    deep = np.asarray(image.convert("L"), dtype=np.uint16) * 257 // 2 + 77
    yield "jpeg_444", saved(image, "JPEG", quality=90, subsampling=0)
    yield "jpeg_422", saved(image, "JPEG", quality=85, subsampling=1)
    yield "jpeg_420", saved(image, "JPEG", quality=75, subsampling=2)
    yield "jpeg_progressive", saved(image, "JPEG", quality=85, progressive=True)
    yield "jpeg_restarts", saved(image, "JPEG", quality=85, restart_marker_blocks=3)
    yield "jpeg_grey", saved(image.convert("L"), "JPEG", quality=90)
    yield "jpeg_rgb", saved(image, "JPEG", quality=90, keep_rgb=True)
    yield "jpeg_cmyk", saved(image.convert("CMYK"), "JPEG", quality=90)
    yield "png_rgb", saved(image, "PNG")
    yield "png_rgba", saved(with_alpha, "PNG")
    yield "png_grey", saved(image.convert("L"), "PNG")
    yield "png_grey_alpha", saved(with_alpha.convert("LA"), "PNG")
    yield "png_bits", saved(image.convert("1"), "PNG")
    palette = image.quantize(13, dither=Image.Dither.NONE)
    yield "png_palette", saved(palette, "PNG")
    yield "png_palette_alpha", saved(palette, "PNG", transparency=bytes(range(13)))
    yield "png_palette_256", saved(image.quantize(256, dither=Image.Dither.NONE), "PNG")
    yield "png_deep", saved(Image.fromarray(deep.astype(np.uint16)), "PNG")


def tensor(image):
    return torch.from_numpy(np.asarray(image).copy())


def colours(name, data):
    image = Image.open(io.BytesIO(data))
    if name == "png_deep":
        # Pillow's own conversion clips; the upper byte is what is meant.
        grey = (np.asarray(image, dtype=np.uint16) >> 8).astype(np.uint8)
        image = Image.fromarray(grey)
    return tensor(image.convert("RGB"))


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def resizes(image, out):
    """args: bicubic, then for rows and columns: origin, extent, total, from, count."""
    filters = [InterpolationMode.BILINEAR, InterpolationMode.BICUBIC]
    count = 0

    def put(bicubic, y, x, result):
        nonlocal count
        out[f"resize.{count}.args"] = numbers(bicubic, *y, *x)
        out[f"resize.{count}.rgb"] = tensor(result)
        count += 1

    width, height = image.size
    for bicubic, kind in enumerate(filters):
        for top, left, h, w, size in [(3, 5, 40, 50, (32, 32)), (10, 0, 31, 83, (24, 40)),
                                      (20, 30, 17, 11, (36, 29)), (0, 0, 61, 83, (13, 7)),
                                      (5, 6, 32, 32, (32, 32)), (60, 82, 1, 1, (4, 4))]:
            result = F.resized_crop(image, top, left, h, w, list(size), kind, antialias=True)
            put(bicubic, (top, h, size[0], 0, size[0]), (left, w, size[1], 0, size[1]), result)
        for short, crop in [(36, 32), (18, 16), (73, 64)]:
            result = F.center_crop(F.resize(image, short, kind, antialias=True), crop)
            total = int(short * width / height)
            left = int(round((total - crop) / 2.0))
            top = int(round((short - crop) / 2.0))
            put(bicubic, (0, height, short, top, crop), (0, width, total, left, crop), result)


def operations(image, out):
    count = 0
    for number, (name, arguments) in enumerate(OPERATIONS):
        for argument in arguments:
            whole = name.startswith(("Posterize", "Solarize"))
            values = [] if name in ("AutoContrast", "Equalize", "Invert") else [argument]
            result = auto_augment.NAME_TO_OP[name](
                image, *[int(v) if whole else v for v in values], fillcolor=MEAN,
                resample=Image.Resampling.BICUBIC)
            out[f"rand.{count}.args"] = numbers(number, argument)
            out[f"rand.{count}.rgb"] = tensor(result)
            count += 1


def make():
    out = {}
    image = picture(1, 61, 83)
    for name, data in forms(image):
        out[f"file.{name}"] = torch.from_numpy(np.frombuffer(data, dtype=np.uint8).copy())
        out[f"rgb.{name}"] = colours(name, data)
    out["base"] = tensor(image)
    resizes(image, out)
    small = picture(2, 36, 44)
    out["small"] = tensor(small)
    operations(small, out)
    return {"pictures.safetensors": (out, {})}
