#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Ours against PyTorch: the same weights, the same batch, the same cores.

Each setting of PyTorch (memory layout, eager or compiled) is a process of its own, as is ours. They
take turns, a few steps each, round after round, so that a machine whose speed drifts treats them
alike; settings far behind the best after a few rounds leave. What is compared is the median of all
steps; the spread is that of the ratio round by round.
Before anything is timed, PyTorch's logits, loss and gradients must equal ours."""

import argparse
import json
import os
import statistics
import sys
import tempfile

import crops
from side import Side

BATCH = {"kd_vgg13_vgg8": 128, "train_vgg16": 128, "infer_vgg16": 128, "latency_vgg16": 1,
         "infer_vgg16_224": 8, "kd_vit_small_tiny": 64, "kd_vit_256_by_8": 256, "train_deit_tiny": 16,
         "infer_deit_tiny": 16, "latency_deit_tiny": 1, "train_swin_tiny": 8, "infer_swin_tiny": 8}
TRIAL = 4  # rounds with every setting
SETTINGS = ["contiguous,eager", "channels_last,eager", "contiguous,compile", "channels_last,compile"]


def compare(work, args):
    here = os.path.dirname(os.path.abspath(__file__))
    with tempfile.TemporaryDirectory() as folder:
        dumper = Side([args.bench, "serve", work, str(args.threads)], args.threads)
        dumper.ask("dump " + folder)
        dumper.close()
        ours = Side([args.bench, "serve", work, str(args.threads)], args.threads)
        peers = {}
        for setting in args.settings:
            peer = Side([sys.executable, os.path.join(here, "torch_side.py"), work, folder, setting,
                         str(args.threads)], args.threads)
            try:
                print(f"{work}: {setting}: {' '.join(peer.ask('check'))}", file=sys.stderr)
                peers[setting] = peer
            except RuntimeError as error:
                print(f"{work}: {setting}: left out: {error}", file=sys.stderr)
        if not peers:
            sys.exit(f"{work}: no setting of PyTorch computes what we do")
        everyone = [("ours", ours)] + list(peers.items())
        for _, side in everyone:
            side.run(3)
            side.seconds.clear()
        steps = 3 if BATCH[work] > 1 else 30 if "deit" in work else 100
        rounds, medians = [], {}
        for n in range(args.rounds):
            if n == TRIAL:
                everyone = drop_slow(everyone, medians)
            rounds.append({name: side.run(steps) for name, side in everyone})
            medians.update({name: statistics.median(side.seconds) for name, side in everyone})
        best = min((name for name, _ in everyone[1:]), key=lambda name: medians[name])
        ratios = sorted(r[best] / r["ours"] for r in rounds)
        result = {
            "work": work,
            "unit": "images/s",
            "ours": BATCH[work] / medians["ours"],
            "peer": BATCH[work] / medians[best],
            "peer_setting": best,
            "ratio": medians[best] / medians["ours"],
            "ratio_p10": ratios[len(ratios) // 10],
            "ratio_p90": ratios[len(ratios) - 1 - len(ratios) // 10],
            "ours_peak_bytes": ours.memory(),
            "peer_peak_bytes": peers[best].memory(),
            "rounds": args.rounds,
            "threads": args.threads,
            "all": {name: BATCH[work] / median for name, median in medians.items()},
        }
        for _, side in everyone:
            side.close()
        return result


def drop_slow(everyone, medians):
    """Without the settings that are far from the best one: the rounds left are for the others."""
    best = min(medians[name] for name, _ in everyone[1:])
    kept = [everyone[0]]
    for name, side in everyone[1:]:
        if medians[name] <= 1.15 * best:
            kept.append((name, side))
        else:
            side.close()
    return kept


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--settings", nargs="+", default=SETTINGS, choices=SETTINGS)
    parser.add_argument("--works", nargs="+", default=list(BATCH) + ["crops"],
                        choices=list(BATCH) + ["crops"])
    parser.add_argument("--pictures", help="for crops: see crops.py")
    args = parser.parse_args()
    results = []
    print(f"{'work':<18}{'ours/s':>10}{'PyTorch/s':>11}{'ratio':>8}{'p10..p90':>14}"
          f"{'memory':>9}  PyTorch's best setting")
    for work in args.works:
        if work == "crops":
            r = crops.compare(args)
        else:
            r = compare(work, args)
        results.append(r)
        spread = f"{r['ratio_p10']:.2f}..{r['ratio_p90']:.2f}"
        print(f"{work:<18}{r['ours']:>10.1f}{r['peer']:>11.1f}{r['ratio']:>8.2f}{spread:>14}"
              f"{r['ours_peak_bytes'] / r['peer_peak_bytes']:>9.2f}  {r['peer_setting']}", flush=True)
        with open(args.out + ".tmp", "w") as file:
            json.dump(results, file, indent=1)
        os.replace(args.out + ".tmp", args.out)


if __name__ == "__main__":
    main()
