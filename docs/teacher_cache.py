# SPDX-License-Identifier: MIT
# teacher_cache.py: a teacher cache for libkd from any PyTorch network; the files are in docs/formats.md.
# Pictures are those of the training split in libkd's order: ImageFolder's for folder:, the files' for CIFAR.
#   python3 teacher_cache.py FOLDER_OF_CLASSES CACHE     then: kd distill SPEC --data folder:... --cache CACHE
import json, os, struct, sys

import numpy as np


def write_safetensors(path, tensors):
    header, at = {}, 0
    kinds = {"float32": "F32", "float16": "F16", "uint16": "U16", "uint32": "U32"}
    for name, x in tensors.items():
        header[name] = {"dtype": kinds[str(x.dtype)], "shape": list(x.shape), "data_offsets": [at, at + x.nbytes]}
        at += x.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path + ".tmp", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for x in tensors.values():
            f.write(np.ascontiguousarray(x).tobytes())
    os.replace(path + ".tmp", path)


def write_cache(folder, name, logits, **features):
    """logits: float32 [pictures, classes]; features: more arrays with a row a picture"""
    os.makedirs(folder, exist_ok=True)
    key = {"kind": "teacher-cache", "format": 1, "classes": logits.shape[1], "rows": len(logits),
           "teacher0": name, "augmentation": "any", "augment_epochs": 1}
    with open(os.path.join(folder, "cache.json"), "w") as f:
        json.dump(key, f)
    tensors = {"logits0": logits, **{"feature." + k: v for k, v in features.items()}}
    write_safetensors(os.path.join(folder, "epoch-000000.safetensors"), tensors)


if __name__ == "__main__":
    import torch, torchvision
    from torchvision import transforms as T
    view = T.Compose([T.Resize(256), T.CenterCrop(224), T.ToTensor(), T.Normalize((.485, .456, .406), (.229, .224, .225))])
    data = torchvision.datasets.ImageFolder(sys.argv[1], view)
    net = torchvision.models.resnet18(weights=None, num_classes=len(data.classes)).eval()  # yours, trained
    with torch.no_grad():
        rows = [net(x).numpy() for x, _ in torch.utils.data.DataLoader(data, 64)]
    write_cache(sys.argv[2], "resnet18", np.concatenate(rows).astype(np.float32))
