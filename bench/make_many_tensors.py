#!/usr/bin/env python3
"""Writes a checkpoint of very many tiny tensors, to time what grows with their number.

    make_many_tensors.py OUT [--tensors 140000] [--shards 100]

The names are those of a mixture of experts stored expert by expert (Qwen3-MoE: 128 experts a layer, 9 other
tensors); every tensor is BF16 [2, 2] of zeros. Needs nothing but Python. Measure with

    /usr/bin/time -v hieron inspect OUT --quiet
"""

import argparse
import itertools
import json
import pathlib
import struct

EXPERTS = 128


def names():
    """Endless: embedding, head and norm first, then layer after layer."""
    yield from ("lm_head.weight", "model.embed_tokens.weight", "model.norm.weight")
    for layer in itertools.count():
        block = f"model.layers.{layer}."
        for part in ("q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm"):
            yield f"{block}self_attn.{part}.weight"
        yield f"{block}mlp.gate.weight"
        yield f"{block}input_layernorm.weight"
        yield f"{block}post_attention_layernorm.weight"
        for expert in range(EXPERTS):
            for part in ("gate_proj", "up_proj", "down_proj"):
                yield f"{block}mlp.experts.{expert}.{part}.weight"


def write_shard(path, tensors):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name in tensors:
        header[name] = {"dtype": "BF16", "shape": [2, 2], "data_offsets": [offset, offset + 8]}
        offset += 8
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(offset))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--tensors", type=int, default=140_000)
    parser.add_argument("--shards", type=int, default=100)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    tensors = list(itertools.islice(names(), asked.tensors))
    layers = 1 + max(int(n.split(".")[2]) for n in tensors if n.startswith("model.layers."))
    weight_map = {}
    for shard in range(asked.shards):
        part = tensors[shard * len(tensors) // asked.shards:(shard + 1) * len(tensors) // asked.shards]
        file = f"model-{shard + 1:05}-of-{asked.shards:05}.safetensors"
        write_shard(asked.out / file, part)
        weight_map.update((name, file) for name in part)
    index = {"metadata": {"total_size": 8 * len(tensors)}, "weight_map": dict(sorted(weight_map.items()))}
    (asked.out / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    config = {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "num_hidden_layers": layers,
              "num_experts": EXPERTS, "hidden_size": 2, "vocab_size": 2, "torch_dtype": "bfloat16",
              "tie_word_embeddings": False}
    (asked.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    main()
