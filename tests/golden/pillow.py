#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Real pictures as libkd frames them, beside torchvision's Resize and CenterCrop with Pillow, and
beside its RandomResizedCrop of those that are too long for chance: of them it shows the middle.

pillow.py LIBKD.SO FOLDER [SIDE]...      FOLDER: FOLDER/CLASS/*.JPEG; sides: 224, 64

Of all bytes at most one in a thousand may differ by more than 1, bilinear and bicubic.
"""
import ctypes as c
import sys

import numpy as np
from PIL import Image, __version__
from torchvision import datasets
from torchvision.transforms import InterpolationMode, functional as F

BATCH, SHARE = 64, 0.875
TEST_SPLIT, SYNC = 1, -1


class View(c.Structure):
    _fields_ = [("height", c.c_size_t), ("width", c.c_size_t), ("channels", c.c_size_t),
                ("mean", c.POINTER(c.c_float)), ("std", c.POINTER(c.c_float))]


class LoaderOpt(c.Structure):
    _fields_ = [("struct_size", c.c_size_t), ("split", c.c_int), ("dev_count", c.c_size_t),
                ("dev_seed", c.c_uint64), ("dev", c.c_int), ("first", c.c_size_t),
                ("count", c.c_size_t), ("batch", c.c_size_t), ("shuffle", c.c_int),
                ("drop_last", c.c_int), ("augment", c.c_char_p), ("seed", c.c_uint64),
                ("depth", c.c_int), ("n_views", c.c_size_t), ("views", c.POINTER(View)),
                ("threads", c.c_int)]


class Batch(c.Structure):
    _fields_ = [("n", c.c_size_t), ("epoch", c.c_size_t), ("index", c.c_size_t),
                ("n_views", c.c_size_t), ("views", c.POINTER(c.POINTER(c.c_float)))]


class Kd:
    def __init__(self, path):
        self.kd = c.CDLL(path)
        self.ctx = c.c_void_p()
        self.kd.kd_ctx_error.restype = c.c_char_p
        self.kd.kd_loader_close.argtypes = self.kd.kd_dataset_close.argtypes = [c.c_void_p]
        self.kd.kd_loader_samples.argtypes = [c.c_void_p]
        self.kd.kd_loader_samples.restype = c.c_size_t
        self.must(self.kd.kd_ctx_create(None, c.byref(self.ctx)))

    def must(self, status):
        if status:
            sys.exit(self.kd.kd_ctx_error(self.ctx).decode())

    def pictures(self, folder, augment, side):
        """[side,side,3] of bytes, in torchvision's order."""
        data, loader, batch = c.c_void_p(), c.c_void_p(), c.POINTER(Batch)()
        zero, unit = (c.c_float * 3)(0, 0, 0), (c.c_float * 3)(*[1 / 255] * 3)
        view = View(side, side, 3, zero, unit)
        opt = LoaderOpt(c.sizeof(LoaderOpt), TEST_SPLIT, batch=BATCH, augment=augment.encode(),
                        depth=SYNC, n_views=1, views=c.pointer(view))
        self.must(self.kd.kd_dataset_open(self.ctx, f"folder:{folder}".encode(), None, c.byref(data)))
        self.must(self.kd.kd_loader_create(data, c.byref(opt), c.byref(loader)))
        left = self.kd.kd_loader_samples(loader)
        while left:
            self.must(self.kd.kd_loader_next(loader, c.byref(batch)))
            n = batch.contents.n
            pixels = np.ctypeslib.as_array(batch.contents.views[0], (n, side, side, 3))
            yield from np.rint(pixels).astype(np.int16)
            left -= n
        self.kd.kd_loader_close(loader)
        self.kd.kd_dataset_close(data)


def centre(image, side, mode):
    return F.center_crop(F.resize(image, int(side / SHARE), mode, antialias=True), side)


def middle(image, side, mode):
    """RandomResizedCrop(side, (1, 1)) where no part has the picture's area; else None."""
    width, height = image.size
    if 0.74 < width / height < 1.35:
        return None
    w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    top, left = (height - h) // 2, (width - w) // 2
    return F.resized_crop(image, top, left, h, w, [side, side], mode, antialias=True)


def compare(kd, folder, side, mode, augment, frame):
    total, beyond, unequal, worst, count, done = 0, 0, 0, 0, 0, 0
    files = datasets.ImageFolder(folder).samples
    for (path, _), ours in zip(files, kd.pictures(folder, f"{augment}+{mode}", side)):
        done += 1
        with Image.open(path) as image:
            theirs = frame(image.convert("RGB"), side, InterpolationMode(mode))
        if theirs is None:
            continue
        off = np.abs(ours - np.asarray(theirs, dtype=np.int16))
        total, count = total + off.size, count + 1
        beyond, unequal = beyond + int((off > 1).sum()), unequal + int((off > 0).sum())
        worst = max(worst, int(off.max()))
    good = done == len(files) and beyond <= total / 1000
    if count:
        print(f"{augment}+{mode}, {side} pixels, {count} pictures: {100 * (1 - beyond / total):.4f} % "
              f"within 1, {100 * (1 - unequal / total):.2f} % equal, {worst} at most"
              f"{'' if good else '   TOO FAR'}")
    return good


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    print(f"Pillow {__version__}")
    kd = Kd(sys.argv[1])
    sides = [int(s) for s in sys.argv[3:]] or [224, 64]
    frames = ((f"centre:{SHARE}", centre), ("rrc:1+exact", middle))
    sys.exit(0 if all([compare(kd, sys.argv[2], side, mode, *frame) for frame in frames
                       for side in sides for mode in ("bilinear", "bicubic")]) else 1)


main()
