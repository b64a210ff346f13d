#!/usr/bin/env python3
"""Makes the checkpoints that the golden recipes read besides moe/ and textgenrnn/. NumPy only; deterministic.

usage:  derive.py FOLDER

FOLDER/derived/dense5/NAME     Qwen3ForCausalLM: layers 1 to 5 of moe/NAME, with expert 0 as the MLP
FOLDER/derived/moe5/NAME       Qwen3MoeForCausalLM: layers 1 to 5 of moe/NAME, all experts
FOLDER/derived/dense5/code-tokens   code with three more tokens (ids 1024 to 1026)
FOLDER/derived/dense5/news-swapped  news with the ids of two tokens exchanged (tokenizer, embedding and head)
FOLDER/derived/dense5/base-lora     a PEFT adapter of rank 4 for dense5/base, on q_proj and v_proj
FOLDER/derived/rnn-f16/NAME    textgenrnn/NAME (f32), rounded to f16
FOLDER/moe, FOLDER/textgenrnn  links to the checkpoints beside this script

mergekit refuses a Qwen3-MoE whose first layer is dense, hence the two families without layer 0. The recipes'
paths hold inside FOLDER. Every file is compared with derived.sha256; a difference ends the program with status 1.
"""

import hashlib
import json
import re
import shutil
import struct
import sys
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).resolve().parent
DATA = GOLDEN.parent
NEW_TOKENS = ("<|think|>", "<|end_think|>", "<|tool|>")
SWAPPED_IDS = (500, 900)
ADAPTER_COLUMNS = (3, 40, 77, 101)
TOKEN_TENSORS = ("model.embed_tokens.weight", "lm_head.weight")
NUMPY_TYPE = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}
MOE_ONLY_KEYS = ("mlp_only_layers", "decoder_sparse_step", "moe_intermediate_size", "norm_topk_prob",
                 "num_experts_per_tok", "num_local_experts", "num_experts", "output_router_logits",
                 "router_aux_loss_coef")


def load(path):
    """{name: (dtype, array)}; bf16 stays as 16-bit patterns."""
    raw = path.read_bytes()
    data = 8 + struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:data])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        values = np.frombuffer(raw[data + begin : data + end], NUMPY_TYPE[entry["dtype"]])
        tensors[name] = (entry["dtype"], values.reshape(entry["shape"]))
    return tensors


def save(path, tensors):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, values) in sorted(tensors.items()):
        header[name] = {"dtype": dtype, "shape": list(values.shape),
                        "data_offsets": [offset, offset + values.nbytes]}
        offset += values.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, (_, values) in sorted(tensors.items()):
            file.write(values.tobytes())


def to_f32(bf16):
    return (bf16.astype(np.uint32) << 16).view(np.float32)


def to_bf16(f32):
    """Rounds to nearest, ties to even."""
    bits = np.ascontiguousarray(f32, np.float32).view(np.uint32)
    return ((bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16).astype(np.uint16)


def without_layer_0(tensors):
    """The same tensors with layer 0 left out and the others counted from 0."""
    kept = {}
    for name, value in tensors.items():
        layer = re.match(r"model\.layers\.(\d+)\.", name)
        if layer and layer[1] == "0":
            continue
        if layer:
            name = f"model.layers.{int(layer[1]) - 1}.{name[layer.end():]}"
        kept[name] = value
    return kept


def expert_0_as_mlp(tensors):
    dense = {}
    for name, value in tensors.items():
        if ".mlp." in name and ".mlp.experts.0." not in name:
            continue
        dense[name.replace(".mlp.experts.0.", ".mlp.")] = value
    return dense


def write_model(folder, source, tensors, config):
    save(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copyfile(source / name, folder / name)


def derive_transformers(out):
    for source in sorted((DATA / "moe").iterdir()):
        if not (source / "config.json").exists() or source.name == "independent":
            continue
        config = json.loads((source / "config.json").read_text())
        config.update(num_hidden_layers=5)
        moe = without_layer_0(load(source / "model.safetensors"))
        write_model(out / "moe5" / source.name, source, moe,
                    config | {"mlp_only_layers": [], "num_experts": 8})
        dense = {key: value for key, value in config.items() if key not in MOE_ONLY_KEYS}
        dense.update(architectures=["Qwen3ForCausalLM"], model_type="qwen3", intermediate_size=64)
        write_model(out / "dense5" / source.name, source, expert_0_as_mlp(moe), dense)


def edit_tokenizer(folder, edit):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    edit(tokenizer)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, indent=2))


def add_tokens(tokenizer):
    for index, text in enumerate(NEW_TOKENS):
        tokenizer["added_tokens"].append({"id": 1024 + index, "content": text, "single_word": False, "lstrip": False,
                                          "rstrip": False, "normalized": False, "special": True})


def swap_ids(tokenizer):
    vocabulary = tokenizer["model"]["vocab"]
    a, b = SWAPPED_IDS
    names = {index: token for token, index in vocabulary.items()}
    vocabulary[names[a]], vocabulary[names[b]] = b, a
    tokenizer["model"]["vocab"] = dict(sorted(vocabulary.items(), key=lambda entry: entry[1]))


def derive_vocabularies(dense):
    """Each new row is the mean of two old ones; two rows of the other model change places with their tokens."""
    for source, name, edit in (("code", "code-tokens", add_tokens), ("news", "news-swapped", swap_ids)):
        tensors = load(dense / source / "model.safetensors")
        for key in TOKEN_TENSORS:
            rows = np.array(tensors[key][1])
            if edit is add_tokens:
                old = to_f32(rows)
                new = [to_bf16((old[300 + i] + old[700 + 2 * i]) * np.float32(0.5)) for i in range(len(NEW_TOKENS))]
                rows = np.concatenate([rows, np.stack(new)])
            else:
                rows[list(SWAPPED_IDS)] = rows[list(reversed(SWAPPED_IDS))]
            tensors[key] = ("BF16", rows)
        config = json.loads((dense / source / "config.json").read_text())
        config["vocab_size"] = len(tensors[TOKEN_TENSORS[0]][1])
        write_model(dense / name, dense / source, tensors, config)
        edit_tokenizer(dense / name, edit)


def derive_adapter(dense):
    """A picks four input columns, B holds these columns of what fine-tuning changed."""
    base, code = (load(dense / name / "model.safetensors") for name in ("base", "code"))
    tensors = {}
    for name in base:
        if name.endswith(("q_proj.weight", "v_proj.weight")):
            change = to_f32(code[name][1]) - to_f32(base[name][1])
            a = np.zeros((len(ADAPTER_COLUMNS), change.shape[1]), np.float32)
            a[range(len(ADAPTER_COLUMNS)), ADAPTER_COLUMNS] = 1
            prefix = "base_model.model." + name.removesuffix(".weight")
            tensors[prefix + ".lora_A.weight"] = ("F32", a)
            tensors[prefix + ".lora_B.weight"] = ("F32", change[:, list(ADAPTER_COLUMNS)])
    save(dense / "base-lora" / "adapter_model.safetensors", tensors)
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "derived/dense5/base",
              "r": len(ADAPTER_COLUMNS), "lora_alpha": 8, "lora_dropout": 0.0, "bias": "none", "fan_in_fan_out": False,
              "inference_mode": True, "target_modules": ["q_proj", "v_proj"], "modules_to_save": None,
              "use_rslora": False, "use_dora": False}
    (dense / "base-lora" / "adapter_config.json").write_text(json.dumps(config, indent=2))


def derive_f16(out):
    for name in ("base", "hacker_news", "reddit_legaladvice"):
        tensors = load(DATA / "textgenrnn" / name / "model.safetensors")
        save(out / "rnn-f16" / name / "model.safetensors",
             {key: ("F16", values.astype(np.float16)) for key, (_, values) in tensors.items()})


def differing(folder):
    """The files that are not what derived.sha256 says."""
    for line in (GOLDEN / "derived.sha256").read_text().splitlines():
        digest, path = line.split(maxsplit=1)
        if hashlib.sha256((folder / path).read_bytes()).hexdigest() != digest:
            yield path


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.split("\n\n")[1])
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for family in ("moe", "textgenrnn"):
        if not (folder / family).exists():
            (folder / family).symlink_to(DATA / family)
    derive_transformers(folder / "derived")
    derive_vocabularies(folder / "derived" / "dense5")
    derive_adapter(folder / "derived" / "dense5")
    derive_f16(folder / "derived")
    if wrong := list(differing(folder)):
        sys.exit(f"differs from derived.sha256: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
