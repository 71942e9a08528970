# SPDX-License-Identifier: MIT
# teacher_cache.py: a teacher cache for libkd from any PyTorch network; the files are in docs/formats.md.
# Pictures are those of the training split in libkd's order: ImageFolder's for folder:, the files' for CIFAR.
#   python3 teacher_cache.py FOLDER_OF_CLASSES CACHE     then: kd distill SPEC --data folder:... --cache CACHE
#   and from its embedding, labels left out:             kd distill SPEC --data folder:... --cache CACHE \
#                                                           --feature cosine --teacher-tap pooled --hard 0
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


def write_cache(folder, name, logits=None, **features):
    """logits: float32 [pictures, classes], if the teacher has classes; features: float32 [pictures, width], by name"""
    tensors = {} if logits is None else {"logits0": logits}
    tensors.update({"feature." + k: x for k, x in features.items()})
    key = {"kind": "teacher-cache", "format": 1, "classes": 0 if logits is None else logits.shape[1],
           "rows": len(next(iter(tensors.values()))), "teacher0": name, "augmentation": "any", "augment_epochs": 1}
    if features:
        key["features"] = ",".join(f"{k}={x.shape[1]}" for k, x in features.items())
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "cache.json"), "w") as f:
        json.dump(key, f)
    write_safetensors(os.path.join(folder, "epoch-000000.safetensors"), tensors)


if __name__ == "__main__":
    import torch, torchvision
    from torchvision import transforms as T
    view = T.Compose([T.Resize(256), T.CenterCrop(224), T.ToTensor(), T.Normalize((.485, .456, .406), (.229, .224, .225))])
    data = torchvision.datasets.ImageFolder(sys.argv[1], view)
    net = torchvision.models.resnet18(weights=None, num_classes=len(data.classes)).eval()  # yours, trained
    body = torch.nn.Sequential(*list(net.children())[:-1], torch.nn.Flatten())  # all but its head: [N, 512]
    with torch.no_grad():
        pooled = torch.cat([body(x) for x, _ in torch.utils.data.DataLoader(data, 64)])
        logits = net.fc(pooled)
    write_cache(sys.argv[2], "resnet18", logits.numpy(), pooled=pooled.numpy())  # of a teacher without classes: no logits
