#!/usr/bin/env python3
"""How often is each tell seen on real models? usage: tells.py HIERON HUB_FOLDER

HUB_FOLDER holds a folder a model: config.json and whatever other small files there are, the published
model.safetensors.index.json, and lfs_pointers.tsv with the published sizes. The shards are made as sparse files with
headers: the published names in the published shards, with the shapes that the config gives (Llama, Mistral, Mixtral,
Phi-3) or, elsewhere, equal parts of the published size. A model counts as a merge if it has a mergekit_config.yml.
"""

import collections
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile


def shape(name, config):
    """Rows x columns that the modelling code gives this tensor, or None."""
    hidden, inner = config.get("hidden_size"), config.get("intermediate_size")
    heads = config.get("num_attention_heads")
    if config.get("model_type") not in ("llama", "mistral", "mixtral", "phi3") or not (hidden and inner and heads):
        return None
    head = config.get("head_dim") or hidden // heads
    q, kv = heads * head, (config.get("num_key_value_heads") or heads) * head
    part = name.rsplit(".", 2)[-2]
    return {"embed_tokens": [config["vocab_size"], hidden], "lm_head": [config["vocab_size"], hidden],
            "q_proj": [q, hidden], "k_proj": [kv, hidden], "v_proj": [kv, hidden], "o_proj": [hidden, q],
            "qkv_proj": [q + 2 * kv, hidden], "gate_up_proj": [2 * inner, hidden],
            "gate_proj": [inner, hidden], "up_proj": [inner, hidden], "down_proj": [hidden, inner],
            "w1": [inner, hidden], "w3": [inner, hidden], "w2": [hidden, inner],
            "gate": [config.get("num_local_experts", 1), hidden]}.get(part, [hidden])


def make_shard(path, names, config, size):
    header, at = {}, 0
    for name in sorted(names):
        dims = shape(name, config)
        entry = {"dtype": "BF16", "shape": dims} if dims else {"dtype": "U8", "shape": [max(1, size // len(names))]}
        count = 2 if dims else 1
        for n in entry["shape"]:
            count *= n
        entry["data_offsets"] = [at, at + count]
        header[name] = entry
        at += count
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        f.truncate(8 + len(text) + at)


def rebuild(source, target):
    os.mkdir(target)
    for name in os.listdir(source):
        if not name.endswith(".tsv"):
            shutil.copy(os.path.join(source, name), target)
    with open(os.path.join(source, "config.json")) as f:
        config = json.load(f)
    sizes = {}
    if os.path.exists(os.path.join(source, "lfs_pointers.tsv")):
        with open(os.path.join(source, "lfs_pointers.tsv")) as f:
            sizes = {row.split("\t")[0]: int(row.split("\t")[2]) for row in f.read().split("\n")[1:] if row}
    index = os.path.join(source, "model.safetensors.index.json")
    if not os.path.exists(index):
        return make_shard(os.path.join(target, "model.safetensors"), ["model.norm.weight"], {}, 4096)
    shards = collections.defaultdict(list)
    with open(index) as f:
        document = json.load(f)
    for name, shard in document["weight_map"].items():
        shards[shard].append(name)
    for shard, names in shards.items():
        make_shard(os.path.join(target, shard), names, config, sizes.get(shard, 1 << 30))
    # Shapes that are not published may add up to another size than the index says.
    document.get("metadata", {}).pop("total_size", None)
    with open(os.path.join(target, "model.safetensors.index.json"), "w") as f:
        json.dump(document, f)


def main():
    hieron, hub = os.path.abspath(sys.argv[1]), sys.argv[2]
    seen = {True: collections.Counter(), False: collections.Counter()}
    models, cut = collections.Counter(), collections.Counter()
    with tempfile.TemporaryDirectory() as scratch:
        for name in sorted(os.listdir(hub)):
            source = os.path.join(hub, name)
            if not os.path.exists(os.path.join(source, "config.json")):
                continue
            folder = os.path.join(scratch, name.split("__")[-1])
            rebuild(source, folder)
            done = subprocess.run([hieron, "inspect", folder, "--json", "-"], capture_output=True, text=True)
            if done.returncode != 0:
                print(f"{name}: {done.stderr.strip()}")
                continue
            merge = os.path.exists(os.path.join(source, "mergekit_config.yml"))
            models[merge] += 1
            cut[merge] += os.path.exists(os.path.join(source, "model.safetensors.index.json"))
            for tell in json.loads(done.stdout)["tells"]:
                seen[merge][tell["id"]] += 1
                print(f"{name}: {tell['id']} ({tell['weight']}): {tell['sentence']}")
            shutil.rmtree(folder)
    print(f"\n{'tell':28} merges ({models[True]}, {cut[True]} with shards)   others ({models[False]}, {cut[False]})")
    for tell in sorted(seen[True] | seen[False]):
        print(f"{tell:28} {seen[True][tell]:6} {seen[False][tell]:22}")


if __name__ == "__main__":
    main()
