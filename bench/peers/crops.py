#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Crops a second, ours against torchvision with Pillow: JPEG files to normalised batches of 64, by
as many workers on the same cores. They take turns; each turn starts with nothing prepared.

crops.py --bench BENCH [--pictures FOLDER] [--side N] [--recipe imagenet-train|imagenet-eval]
FOLDER has a folder of JPEG files for each class (in FOLDER/train, or in FOLDER itself); without it
some are made that are as large as ImageNet's and about as hard to decode."""

import argparse
import os
import statistics
import sys
import tempfile
import time

from side import Side

BATCH = 64
MEAN, STD = [.485, .456, .406], [.229, .224, .225]


def make_pictures(folder, count=256):
    """Clouds, edges and some noise."""
    import numpy as np
    from PIL import Image
    state = np.random.RandomState(0)
    os.makedirs(os.path.join(folder, "class"))
    for i in range(count):
        image = Image.new("RGB", (500, 375))
        for cells in (4, 16, 64, 200):
            noise = state.randint(0, 256, (cells * 3 // 4, cells, 3)).astype(np.uint8)
            layer = Image.fromarray(noise).resize(image.size, Image.Resampling.BICUBIC)
            image = Image.blend(image, layer, .8 if cells == 4 else .3)
        image.save(os.path.join(folder, "class", f"{i}.JPEG"), quality=90)


def serve(folder, side, recipe, workers):
    """torchvision's side: speaks the protocol of bench/crops.c."""
    import torch
    from torchvision import datasets, transforms as T
    torch.set_num_threads(1)
    if recipe == "imagenet-train":
        steps = [T.RandomResizedCrop(side), T.RandomHorizontalFlip()]
    else:
        steps = [T.Resize(int(side / .875)), T.CenterCrop(side)]
    data = datasets.ImageFolder(folder, T.Compose(steps + [T.ToTensor(), T.Normalize(MEAN, STD)]))
    loader = torch.utils.data.DataLoader(data, BATCH, shuffle=True, num_workers=workers,
                                         drop_last=True, persistent_workers=True)
    for line in sys.stdin:
        word = line.split()
        if word[0] == "run":
            start, left = time.perf_counter(), int(word[1])
            while left:
                for _ in loader:
                    left -= 1
                    if not left:
                        break
            print(f"{time.perf_counter() - start:.9f}")
        elif word[0] == "memory":
            print(memory())
        print("done", flush=True)


def memory():
    """This process and its workers, shared pages counted once."""
    total, me = 0, os.getpid()
    for pid in [me] + [int(p) for p in os.listdir("/proc") if p.isdigit()]:
        try:
            with open(f"/proc/{pid}/stat") as f:
                parent = int(f.read().rsplit(")", 1)[1].split()[1])
            if pid == me or parent == me:
                with open(f"/proc/{pid}/smaps_rollup") as f:
                    total += sum(int(l.split()[1]) * 1024 for l in f if l.startswith("Pss:"))
        except OSError:
            pass
    return total


def compare(args):
    side, recipe = getattr(args, "side", 224), getattr(args, "recipe", "imagenet-train")
    with tempfile.TemporaryDirectory() as made:
        folder = args.pictures
        if not folder:
            make_pictures(made)
            folder = made
        inner = os.path.join(folder, "train")
        inner = inner if os.path.isdir(inner) else folder
        count = sum(len(files) for _, _, files in os.walk(inner))
        batches = max(1, min(8, count // BATCH))
        ours = Side([args.bench, "crops", folder, recipe, str(side), str(args.threads)],
                    args.threads)
        peer = Side([sys.executable, os.path.abspath(__file__), "serve", inner, str(side),
                     recipe, str(args.threads)], args.threads)
        both = {"ours": ours, "peer": peer}
        for one in both.values():
            one.run(batches)
            one.seconds.clear()
        rounds = [{name: one.run(batches) for name, one in both.items()}
                  for _ in range(args.rounds)]
        medians = {name: statistics.median(one.seconds) for name, one in both.items()}
        ratios = sorted(r["peer"] / r["ours"] for r in rounds)
        result = {
            "work": "crops",
            "unit": "images/s",
            "ours": batches * BATCH / medians["ours"],
            "peer": batches * BATCH / medians["peer"],
            "peer_setting": f"torchvision, Pillow, {args.threads} workers, {recipe}, "
                            f"{side}x{side}",
            "ratio": statistics.median(ratios),
            "ratio_p10": ratios[len(ratios) // 10],
            "ratio_p90": ratios[len(ratios) - 1 - len(ratios) // 10],
            "ours_peak_bytes": ours.memory(),
            "peer_peak_bytes": peer.memory(),
            "rounds": args.rounds,
            "threads": args.threads,
        }
        for one in both.values():
            one.close()
        return result


def main():
    if sys.argv[1:2] == ["serve"]:
        folder, side, recipe, workers = sys.argv[2:6]
        serve(folder, int(side), recipe, int(workers))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", required=True)
    parser.add_argument("--pictures")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--recipe", default="imagenet-train",
                        choices=["imagenet-train", "imagenet-eval"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    r = compare(parser.parse_args())
    print(f"{r['ours']:.1f} crops/s, torchvision {r['peer']:.1f}: ratio {r['ratio']:.2f} "
          f"({r['ratio_p10']:.2f}..{r['ratio_p90']:.2f}), {r['peer_setting']}")


if __name__ == "__main__":
    main()
