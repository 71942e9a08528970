# SPDX-License-Identifier: MIT
"""seeds.py: writes the seeds of the fuzz targets' corpora, tests/fuzz/corpus/TARGET/*, that are made
rather than found. Run it from the top of the tree. Everything is numbers made on the spot."""
import gzip
import json
import os
import struct

CORPUS = "tests/fuzz/corpus"


def put(target, name, data):
    os.makedirs(f"{CORPUS}/{target}", exist_ok=True)
    with open(f"{CORPUS}/{target}/{name}", "wb") as f:
        f.write(data.encode() if isinstance(data, str) else data)


# ---- safetensors -----------------------------------------------------------------------------------
SIZES = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I64": 8, "U8": 1, "F8_E4M3": 1}


def tensors(metadata, entries):
    """entries: (name, dtype, shape); values count up."""
    header, data = {"__metadata__": metadata} if metadata else {}, b""
    for name, dtype, shape in entries:
        n = 1
        for d in shape:
            n *= d
        begin = len(data)
        if dtype == "F32":
            data += b"".join(struct.pack("<f", (i % 17 - 8) / 8) for i in range(n))
        else:
            data += bytes(i % 60 for i in range(n * SIZES[dtype]))
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, len(data)]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def vgg(widths, kernel_in, classes, norm, dtype="F32"):
    """The entries of a small VGG: a convolution (and a norm) a stage, then the head."""
    entries, index = [], 0
    for w in widths:
        entries += [(f"features.{index}.weight", dtype, [w, kernel_in, 3, 3]),
                    (f"features.{index}.bias", dtype, [w])]
        if norm:
            bn = f"features.{index + 1}"
            entries += [(f"{bn}.{k}", dtype, [w]) for k in
                        ("weight", "bias", "running_mean", "running_var")]
            entries += [(f"{bn}.num_batches_tracked", "I64", [])]
        index += 4 if norm else 3
        kernel_in = w
    return entries + [("classifier.weight", dtype, [classes, kernel_in]),
                      ("classifier.bias", dtype, [classes])]


def vgg_dense(units, timm=False):
    """A convolution of one channel and fc4096's layers of so many units, for two classes."""
    names = ("pre_logits.fc1", "pre_logits.fc2", "head.fc") if timm else (
        "classifier.0", "classifier.3", "classifier.6")
    shapes = ([units, 1, 7, 7], [units, units, 1, 1]) if timm else ([units, 49], [units, units])
    entries = [("features.0.weight", "F32", [1, 1, 3, 3]), ("features.0.bias", "F32", [1])]
    for name, shape in zip(names, (*shapes, [2, units])):
        entries += [(name + ".weight", "F32", shape), (name + ".bias", "F32", shape[:1])]
    return entries


def shards():
    def recipe(name, index, a=(("x", "F32", [2]),), b=(("y", "U8", [3]),)):
        text = (json.dumps(index, separators=(",", ":")) if isinstance(index, dict) else index).encode()
        files = [text] + [tensors({"k": "v"}, list(e)) if e is not None else b"" for e in (a, b)]
        put("shards", name, b"".join(struct.pack("<HB", len(f), len(f)) + f for f in files))

    first, second = "a.safetensors", "b.safetensors"
    both = {"x": first, "y": second}
    recipe("two", {"metadata": {"total_size": 11}, "weight_map": both})
    recipe("one", {"weight_map": {"x": first}})
    recipe("swapped", {"weight_map": {"x": second, "y": first}})
    recipe("same", {"weight_map": {"x": first}}, b=(("x", "F32", [1]),))
    recipe("double", {"weight_map": both}, b=(("x", "F32", [1]), ("y", "U8", [1])))
    recipe("none", {"weight_map": {}})
    recipe("no_map", {"metadata": {}})
    recipe("up", {"weight_map": {"x": "../a.safetensors"}})
    recipe("absolute", {"weight_map": {"x": "/dev/zero"}})
    recipe("dots", {"weight_map": {"x": ".."}})
    recipe("itself", {"weight_map": {"x": "model.safetensors.index.json"}})
    recipe("gone", {"weight_map": {"x": "c.safetensors"}})
    recipe("pickle", {"weight_map": {"x": "pytorch_model.bin"}})
    recipe("number", {"weight_map": {"x": 1}})
    recipe("array", {"weight_map": [first]})
    recipe("cut", '{"weight_map":{"x":"a.safetensors"')
    recipe("twice", '{"weight_map":{"x":"a.safetensors","\\u0078":"a.safetensors"}}')
    recipe("escaped", '{"weight_map":{"x":"a.safetensors","y":"b.safe\\u0074ensors"}}')
    recipe("empty", {"weight_map": both}, b=None)
    recipe("page", "<html></html>")


def model():
    spec = "vgg2,classes=2,image=4,channels=1,head=gap,width=0.015625,pool4=1"
    norm = {"libkd.mean": "0.5", "libkd.std": "0.25", "libkd.version": "0.1.0", "format": "pt"}
    small = vgg([1], 1, 2, False)
    put("model", "small", tensors({"libkd.spec": spec} | norm, small))
    put("model", "half", tensors({"libkd.spec": spec}, vgg([1], 1, 2, False, "BF16")))
    put("model", "short", tensors({"libkd.spec": "vgg2,width=.015625,image=4,classes=2,channels=1"},
                                  small))
    put("model", "norm", tensors({"libkd.spec": "vgg3_bn,classes=2,image=4,channels=1,width=0.015625"}
                                 | norm, vgg([1, 2], 1, 2, True)))
    put("model", "colour", tensors({"libkd.spec": "vgg2,classes=2,image=2,channels=3,head=gap,"
                                    "width=0.015625", "libkd.mean": ".1,.2,.3",
                                    "libkd.std": "1,2e0,.5"}, vgg([1], 3, 2, False)))
    put("model", "nameless", tensors({}, small))
    put("model", "lies", tensors({"libkd.spec": "vgg2,classes=1000000,image=4,channels=1"}, small))
    put("model", "wide", tensors({"libkd.spec": "vgg19_bn,width=64,classes=1000000,channels=64"},
                                 small))
    put("model", "large", tensors({"libkd.spec": "vgg2,classes=2,image=16384,channels=1,head=gap,"
                                   "width=0.015625"}, small))
    put("model", "dense", tensors({"libkd.spec": "vgg2,classes=2,image=4,channels=1,head=fc4096,"
                                   "width=0.015625"}, small))
    put("model", "dense_file", tensors({"libkd.spec": "vgg2,classes=2,image=4,channels=1,width=0.015625"},
                                       vgg_dense(3)))
    put("model", "timm", tensors({"libkd.spec": "vgg2,classes=2,image=4,channels=1,width=0.015625"},
                                 vgg_dense(3, True)))
    known = {"libkd.classes": '["a","b"]', "libkd.data": "folder:x", "libkd.framing": "centre:0.875",
             "libkd.data_checksum": "0123456789abcdef"}
    put("model", "names", tensors({"libkd.spec": spec} | norm | known, small))
    put("model", "names_three", tensors({"libkd.spec": spec, "libkd.classes": '["a","b","c"]'}, small))
    put("model", "framing", tensors({"libkd.spec": spec, "libkd.framing": "rrc+flip"}, small))
    put("model", "module", tensors({"libkd.spec": spec}, [("module." + n, d, s) for n, d, s in small] +
                                   [("n_averaged", "I64", [])]))
    put("model", "counter", tensors({"libkd.spec": "vgg3_bn,classes=2,image=4,channels=1,width=0.015625"},
                                    [(n, "F32", [1]) if "tracked" in n else (n, d, s)
                                     for n, d, s in vgg([1, 2], 1, 2, True)]))
    put("model", "float8", tensors({"libkd.spec": spec}, vgg([1], 1, 2, False, "F8_E4M3")))
    put("model", "bytes", tensors({"libkd.spec": spec}, vgg([1], 1, 2, False, "U8")))
    put("model", "checkpoint", tensors({"libkd.spec": spec, "libkd.train": "{}"},
                                       small + [("ema.classifier.bias", "F32", [2])]))
    transformers(norm)


# Small transformers: 2x2 patches of 2x2 grey pixels, 2 numbers each, a perceptron of 2.
VIT = "patch=2,dim=2,depth=1,heads=1,mlp_ratio=1,classes=2,image=4,channels=1"
SWIN = "patch=2,dim=2,depth=1-1,heads=1-1,mlp_ratio=1,window=2,classes=2,image=4,channels=1"
PARTS = ("query", "key", "value")


def dense(name, out, inner):
    return [(f"{name}.weight", "F32", [out, inner]), (f"{name}.bias", "F32", [out])]


def both(name, size):
    return [(f"{name}.weight", "F32", [size]), (f"{name}.bias", "F32", [size])]


def block(dim, norm1, qkv, proj, norm2, fc1, fc2, torchvision=False):
    """A block's entries; qkv: a name, two of torchvision's, or three of Hugging Face's."""
    entries = both(norm1, dim)
    if torchvision:
        entries += [(f"{qkv}weight", "F32", [3 * dim, dim]), (f"{qkv}bias", "F32", [3 * dim])]
    elif isinstance(qkv, str):
        entries += dense(qkv, 3 * dim, dim)
    else:
        for name in qkv:
            entries += dense(name, dim, dim)
    return entries + dense(proj, dim, dim) + both(norm2, dim) + dense(fc1, dim, dim) + dense(fc2, dim, dim)


def transformers(norm):
    def conv(name):
        return [(f"{name}.weight", "F32", [2, 1, 2, 2]), (f"{name}.bias", "F32", [2])]

    def token(name, n=1):
        return [(name, "F32", [1, n, 2])]

    def vit(b, names):
        return (token(names["cls"]) + token(names["pos"], 5) + conv(names["conv"]) + b +
                both(names["norm"], 2) + dense(names["head"], 2, 2))

    b = "blocks.0."
    own = block(2, b + "norm1", b + "attn.qkv", b + "attn.proj", b + "norm2", b + "mlp.fc1", b + "mlp.fc2")
    put("model", "vit", tensors({"libkd.spec": "vit_tiny_patch16_224," + VIT} | norm, vit(own, {
        "cls": "cls_token", "pos": "pos_embed", "conv": "patch_embed.proj", "norm": "norm",
        "head": "head"})))
    put("model", "deit", tensors(
        {"libkd.spec": "deit_tiny_distilled_patch16_224," + VIT},
        token("cls_token") + token("dist_token") + token("pos_embed", 6) + conv("patch_embed.proj") +
        own + both("norm", 2) + dense("head", 2, 2) + dense("head_dist", 2, 2)))
    t = "encoder.layers.encoder_layer_0."
    put("model", "vit_torchvision", tensors(
        {"libkd.spec": "vit_base_patch16_224," + VIT},
        vit(block(2, t + "ln_1", t + "self_attention.in_proj_", t + "self_attention.out_proj", t + "ln_2",
                  t + "mlp.0", t + "mlp.3", True),
            {"cls": "class_token", "pos": "encoder.pos_embedding", "conv": "conv_proj",
             "norm": "encoder.ln", "head": "heads.head"})))
    for kind, head in (("vit", "classifier"), ("deit", "cls_classifier")):
        h = f"{kind}.encoder.layer.0."
        put("model", f"{kind}_hugging_face", tensors(
            {"libkd.spec": f"{kind}_tiny_patch16_224," + VIT},
            vit(block(2, h + "layernorm_before", [h + "attention.attention." + p for p in PARTS],
                      h + "attention.output.dense", h + "layernorm_after", h + "intermediate.dense",
                      h + "output.dense"),
                {"cls": f"{kind}.embeddings.cls_token",
                 "pos": f"{kind}.embeddings.position_embeddings",
                 "conv": f"{kind}.embeddings.patch_embeddings.projection",
                 "norm": f"{kind}.layernorm", "head": head})))

    def swin(layers, dims, norms):
        """norms: of the patches, of the end; then the head's name."""
        return (conv(layers["conv"]) + both(norms[0], 2) + layers["blocks"] + both(norms[1], dims) +
                dense(norms[2], 2, dims))

    def merging(name):
        return both(name + ".norm", 8) + [(name + ".reduction.weight", "F32", [4, 8])]

    def swin_block(b, dim, bias):
        return (block(dim, b + "norm1", b + "attn.qkv", b + "attn.proj", b + "norm2", b + "mlp.fc1",
                      b + "mlp.fc2") + [(b + "attn.relative_position_bias_table", "F32", [bias, 1])])

    spec = {"libkd.spec": "swin_tiny_patch4_window7_224," + SWIN}
    first, second = swin_block("layers.0.blocks.0.", 2, 9), swin_block("layers.1.blocks.0.", 4, 1)
    put("model", "swin", tensors(spec | norm, swin(
        {"conv": "patch_embed.proj", "blocks": first + merging("layers.1.downsample") + second}, 4,
        ("patch_embed.norm", "norm", "head.fc"))))
    put("model", "swin_first", tensors(spec, swin(
        {"conv": "patch_embed.proj", "blocks": first + merging("layers.0.downsample") + second}, 4,
        ("patch_embed.norm", "norm", "head"))))

    def renamed(entries):
        for old, new in (("layers.0.blocks.", "features.1."), ("layers.1.blocks.", "features.3."),
                         ("layers.1.downsample", "features.2"), ("mlp.fc1", "mlp.0"),
                         ("mlp.fc2", "mlp.3")):
            entries = [(name.replace(old, new), dtype, shape) for name, dtype, shape in entries]
        return entries

    put("model", "swin_torchvision", tensors(spec, swin(
        {"conv": "features.0.0", "blocks": renamed(first + merging("layers.1.downsample") + second)}, 4,
        ("features.0.2", "norm", "head"))))

    def hugging(stage, dim, bias):
        h = f"swin.encoder.layers.{stage}.blocks.0."
        return block(dim, h + "layernorm_before", [h + "attention.self." + p for p in PARTS],
                     h + "attention.output.dense", h + "layernorm_after", h + "intermediate.dense",
                     h + "output.dense") + [
                         (h + "attention.self.relative_position_bias_table", "F32", [bias, 1])]

    put("model", "swin_hugging_face", tensors(spec, swin(
        {"conv": "swin.embeddings.patch_embeddings.projection",
         "blocks": hugging(0, 2, 9) + merging("swin.encoder.layers.0.downsample") + hugging(1, 4, 1)}, 4,
        ("swin.embeddings.norm", "swin.layernorm", "classifier"))))


def checkpoint():
    widths, classes = [1], 2
    entries = vgg(widths, 1, classes, True)
    more = [(f"ema.{n}", d, s) for n, d, s in entries]
    more += [(f"optimizer.momentum.{n}", d, s) for n, d, s in entries
             if "running" not in n and "tracked" not in n]
    state = {"epoch": 1, "batch": 3, "step": 10, "optimizer_steps": 10, "seed": 0, "seconds": 1.5,
             "images": 640, "last_loss": 2.25, "last_accuracy": 12.5}
    state |= {f"times{i}": .25 for i in range(6)}
    state |= {"sum_loss": 6.5, "sum_images": 192, "sum_correct": 20, "sum_batches": 3,
              "sum_seconds": .5}
    state |= {f"sum_times{i}": .125 for i in range(6)}

    def file(name, change, run='{"run":1}', drop=""):
        merged = {k: v for k, v in (state | change).items() if v != "drop"}
        meta = {"libkd.kind": "checkpoint", "libkd.run": run,
                "libkd.train": json.dumps(merged, separators=(",", ":"))}
        put("checkpoint", name, tensors(meta, [e for e in entries + more if e[0] != drop]))

    file("whole", {})
    file("nan", {"last_loss": None, "sum_loss": None})
    file("last_batch", {"batch": 7})
    file("far", {"epoch": 4294967295, "step": 2**62, "optimizer_steps": 2**63 - 1})
    file("negative", {"seconds": -1e300})
    file("endless", {"batch": 2**63})
    file("other_run", {}, '{"run":2,"seed":1}')
    file("missing", {"step": "drop"})
    file("no_average", {}, drop="ema.classifier.bias")


# ---- recipes for files -------------------------------------------------------------------------------
def metrics():
    def line(epoch):
        return json.dumps({"epoch": epoch, "step": 8 * epoch, "loss": 2.5 / epoch, "lr": 0.1}) + "\n"

    for name, epochs, text in (
            ("whole", 3, line(1) + line(2) + line(3)), ("more", 2, line(1) + line(2) + line(3)),
            ("twice", 9, line(1) + line(2) + line(2) + line(1)), ("cut", 3, line(1) + line(2)[:20]),
            ("none", 0, line(1)), ("other", 2, "\n[1]\n{}\n" + line(1) + '{"epoch":1.5}\n'),
            ("odd", 5, line(-1) + line(2**63) + '{"epoch":"2"}\r\n' + line(4))):
        put("metrics", name, bytes([epochs]) + text.encode())


def content(size, own=b""):
    return struct.pack("<HB", size, len(own)) + own


def cifar():
    put("cifar", "ten", b"\2" + content(3073, b"\3"))
    put("cifar", "ten_more", b"\2" + content(2 * 3073, b"\7\0") + content(3073, b"\2"))
    put("cifar", "ten_names", b"\0" + content(3073, b"\1") * 6 + content(20, b"a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n"))
    put("cifar", "hundred", b"\3" + content(3074, b"\x13\x63") + content(2 * 3074, b"\0"))
    put("cifar", "hundred_names", b"\1" + content(3074, b"\0") * 2 + content(200, b"a\n" * 99 + b"a"))
    put("cifar", "bad_label", b"\2" + content(3073, b"\x0a"))
    put("cifar", "bad_coarse", b"\3" + content(3074, b"\x14\0"))
    put("cifar", "cut", b"\2" + content(3072, b"\1"))
    put("cifar", "gzip", b"\3" + content(3074, b"\x1f\x8b"))
    put("cifar", "control", b"\1" + content(3074, b"\0") * 2 + content(20, b"a\n\x1b[31m\r\n"))
    put("cifar", "missing", b"\xf3")
    put("cifar", "none", b"")


def idx():
    def images(n, h=28, w=28):
        return struct.pack(">IIII", 0x803, n, h, w)

    def labels(n, x=b"\3"):
        return struct.pack(">II", 0x801, n) + x

    def split(n):
        return content(16 + 784 * n, images(n) + b"\x80") + content(8 + n, labels(n))

    put("idx", "plain", b"\0" + split(2) + split(1))
    put("idx", "wrapped", b"\xff" + split(1) + split(3))
    put("idx", "mixed", b"\x51" + split(1) + split(1))
    put("idx", "bad_label", b"\0" + content(800, images(1) + b"\1") + content(9, labels(1, b"\n")))
    put("idx", "many", b"\0" + content(800, images(60000)) + content(9, labels(60000)))
    put("idx", "few", b"\0" + content(800, images(1) + b"\1") + content(10, labels(2)) + split(1))
    put("idx", "long", b"\0" + content(801, images(1) + b"\1") + content(9, labels(1)) + split(1))
    put("idx", "large", b"\0" + content(800, images(1, 65536, 65536)))
    put("idx", "type", b"\0" + content(800, b"\0\0\x0d\3"))
    real = [gzip.compress(x, 9, mtime=0) for x in
            (images(1) + b"\1" * 784, labels(1), images(60000) + b"\0" * 784)]
    whole = content(len(real[0]), real[0]) + content(len(real[1]), real[1])
    put("idx", "deflated", b"\x01" + whole + whole)
    put("idx", "promises", b"\x01" + content(len(real[2]), real[2]) + whole)
    put("idx", "cut", b"\x00" + content(len(real[0]) - 3, real[0]) + whole)


def gz():
    text = b"The same words again, the same words again, and then some others. " * 3
    fixed = gzip.compress(text, 9, mtime=0)
    put("gzip", "deflate", b"\1" + fixed)
    put("gzip", "bytes", b"\0" + gzip.compress(b"short", 1, mtime=0))
    put("gzip", "stored", b"\2" + gzip.compress(text, 0, mtime=0))
    put("gzip", "zeros", b"\x7f" + gzip.compress(bytes(60000), 9, mtime=0))
    put("gzip", "made", b"\x82" + text)
    put("gzip", "made_empty", b"\x80")
    put("gzip", "cut", b"\1" + fixed[:-5])
    put("gzip", "sum", b"\1" + fixed[:-6] + b"\0" + fixed[-5:])
    put("gzip", "two", b"\1" + fixed + fixed)
    put("gzip", "rest", b"\1" + fixed + b"x")
    put("gzip", "named", b"\1" + fixed[:3] + b"\x08" + fixed[4:10] + b"name\0" + fixed[10:])
    put("gzip", "plain", b"\1no gzip at all")
    put("gzip", "empty", b"")


# ---- texts -------------------------------------------------------------------------------------------
def spec():
    for name, text in {
        "plain": "mvgg8_bn", "full": "mvgg13,classes=100,image=32,channels=3,head=gap,width=0.5,pool4=0",
        "defaults": "mvgg16_bn,width=1e-1;classes=10,image=32,channels=3;classes=100",
        "unknown": "mvgg99", "key": "mvgg8,color=3", "value": "mvgg8,classes=0x10", "comma": "mvgg8,",
        "empty": "m", "gone": "mvgg19,image=16", "many": "mvgg8,classes=1000000000000000000000000",
        "count": "cvgg8_bn,classes=10,image=32", "count_large": "cvgg19_bn,width=64,image=16384,channels=64",
        "count_dense": "cvgg11,classes=2,width=.1", "data": "dsynthetic:classes=2,image=8,train=2,test=1,seed=7",
        "stages": "mvgg8_bn,convs=1-1-2-2-2,stages=32-48-64-96-128,image=32",
        "stages_apart": "mvgg8,convs=1-1,stages=8-8-8", "stages_zero": "mvgg8,convs=1-0-1-1-1",
        "stages_count": "cvgg8_bn,convs=8-8-8,stages=4-4-4,image=8,classes=2",
        "stages_wide": "cvgg8,width=64,image=16384,convs=8-8,stages=512-512",
        "data_many": "dsynthetic:train=10000000,image=1024", "data_options": "dcifar-10:x",
        "data_unknown": "dimagenet", "data_comma": "dsynthetic:classes=2,",
        "augment": "acrop-flip", "augment_values": "acrop:4+altflip+cutout:8", "augment_none": "anone",
        "augment_many": "aflip+flip+flip+flip+flip+flip+flip+flip+flip", "augment_large": "acrop:99999999999999999999",
        "nothing": "",
        "vit": "mvit_tiny_patch16_224,image=32,patch=4,dim=64,depth=2,heads=2,mlp_ratio=2,drop_path=0.1",
        "vit_heads": "mvit_tiny_patch16_224,dim=65,heads=2", "vit_patch": "mvit_base_patch16_224,image=30,patch=16",
        "vit_many": "cvit_base_patch16_224,image=16384,patch=1", "vit_count": "cvit_small_patch16_224,depth=3",
        "vit_drop": "mvit_tiny_patch16_224,drop_path=1", "vit_large": "cvit_base_patch16_224,dim=4096,depth=64",
        "deit": "mdeit_tiny_distilled_patch16_224;classes=100,image=32,channels=3;classes=7,patch=8",
        "deit_count": "cdeit_tiny_distilled_patch16_224,image=32,patch=4",
        "swin": "mswin_tiny_patch4_window7_224,depth=2-2-6-2,heads=3-6-12-24,window=7,drop_path=.2",
        "swin_small": "cswin_tiny_patch4_window7_224,image=32,patch=2,dim=24,depth=2-2,heads=2-4,window=4",
        "swin_stages": "mswin_tiny_patch4_window7_224,depth=1-1-1,heads=1-2",
        "swin_long": "mswin_tiny_patch4_window7_224,depth=1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1",
        "swin_dash": "mswin_tiny_patch4_window7_224,depth=2--2", "swin_end": "mswin_tiny_patch4_window7_224,heads=3-",
        "swin_window": "cswin_base_patch4_window7_224,image=224,window=1024",
        "swin_odd": "cswin_tiny_patch4_window7_224,image=36,patch=4,window=3,depth=1-1-1-1,heads=1-1-1-1,dim=2",
    }.items():
        put("data" if text[:1] in "da" else "spec", name, text)


def options():
    # commands: models 0, profile 1, train 2, distill 3, finetune 4, eval 5, predict 6, step 7, inspect 8,
    # rerun 9, completion 10, manual 11
    def line(name, command, words, *argv):
        put("options", name, bytes([command + 16 * words]) + "\n".join(argv).encode())

    line("train", 2, 1, "vgg8_bn", "--data", "cifar-10", "--epochs=30", "--schedule", "cosine",
         "--lr", "0.1", "--nesterov", "--out", "teacher", "--seed", "18446744073709551615")
    line("distill", 3, 1, "vgg8_bn", "--teacher", "a.safetensors", "b", "--teacher-weight", "1",
         "2e0", "--method", "dkd", "--temperature", "4", "--hard=0", "--dkd-warmup", "0")
    line("teachers", 3, 1, "--teacher", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    line("weights", 3, 1, "x", "--teacher-weight", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    line("eval", 5, 1, "FILE", "--split", "dev", "--dev-count", "5000", "--teacher", "t", "--json")
    line("predict", 6, 3, "a", "b", "c", "--batch", "0")
    line("step", 7, 3, "a", "b", "c", "--momentum", ".5", "--clip", "1e30", "--label-smoothing", "1")
    line("profile", 1, 1, "--per-op", "--train", "--", "--x")
    line("bytes", 2, 1, "s", "--max-memory", "16777216T", "--threads", "1025")
    line("limits", 2, 1, "s", "--max-memory=8E", "--max-steps", "1e3", "--ema", "-0.0")
    line("help", 0, 0, "--quiet", "-h", "--nonsense")
    line("near", 2, 1, "--epoch", "3")
    line("other", 8, 1, "--lr", "1")
    line("long", 8, 1, "--" + "x" * 300 + "=" + "\x1b[31m")
    line("words", 8, 1, "a", "b")
    line("last", 2, 1, "vgg8", "--lr")
    line("numbers", 2, 1, "s", "--lr", "1e999", "--warmup", "0x1p3")
    line("empty", 2, 1, "", "--augment=")
    line("off", 2, 1, "s", "--no-nesterov", "--momentum", "0", "--weight-decay", "0", "--clip", "0")
    line("pieces", 2, 1, "s", "--micro-batch", "auto", "--micro-batch", "7", "--keep", "best", "--dev-count", "9")
    line("contradictions", 7, 1, "s", "--optimizer", "adamw", "--momentum", ".5")
    line("untaught", 7, 1, "s", "--temperature", "2")
    line("alpha", 7, 1, "s", "--method", "kd", "--alpha", "3", "--hard", "0", "--soft", "0")
    line("guesses", 2, 1, "s", "--Weight_Decay", "1")
    line("prefix", 4, 1, "s", "--no-nestrov")
    line("choice", 2, 1, "s", "--schedule", "One-Cycle")
    line("top", 6, 3, "a", "b", "c", "d", "e", "--top", "3", "--skip-broken")
    line("rerun", 9, 1, "DIR", "--check", "--anyway", "--out", "o")
    line("shell", 10, 1, "bash", "--json")


def cache():
    """keys and epochs' files of teacher caches: see fuzz_cache.c"""
    import struct
    for name, form in (("float32", {}), ("float16", {"precision": "float16"}), ("top", {"top": 2, "precision": "float16"}),
                       ("two", {"teachers": 2}), ("features", {"features": "embedding=2,map=1x1x2"}),
                       ("no_logits", {"classes": 0, "features": "pooled=3", "precision": "float16"})):
        key = json.dumps({"kind": "teacher-cache", "format": 1, "classes": 3, "rows": 2, **form}).encode()
        header, data = {}, b""
        for t in range(form.get("teachers", 1)):
            if form.get("classes") == 0:
                parts = [("feature.pooled", "F16", [2, 3], b"\x00\x3c" * 6)]
            elif "features" in form:
                parts = [(f"logits{t}", "F32", [2, 3], struct.pack("<6f", 1, 2, 3, 4, 5, 6)),
                         ("feature.embedding", "F32", [2, 2], struct.pack("<4f", 1, 2, 3, 4)),
                         ("feature.map", "F32", [2, 2], struct.pack("<4f", 5, 6, 7, 8))]
            elif "top" in form:
                parts = [(f"log_probabilities{t}", "F16", [2, 2], b"\x00\xb8\x00\xbc" * 2),
                         (f"classes{t}", "U16", [2, 2], b"\x01\x00\x02\x00" * 2)]
            elif "precision" in form:
                parts = [(f"logits{t}", "F16", [2, 3], b"\x00\x3c" * 6)]
            else:
                parts = [(f"logits{t}", "F32", [2, 3], struct.pack("<6f", 1, 2, 3, 4, 5, 6))]
            for part, kind, shape, content in parts:
                header[part] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
                data += content
        text = json.dumps(header).encode()
        put("cache", name, struct.pack("<H", len(key)) + key + struct.pack("<Q", len(text)) + text + data)


for make in (cache, shards, model, checkpoint, metrics, cifar, idx, gz, spec, options):
    make()
