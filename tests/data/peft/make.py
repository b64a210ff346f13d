"""Makes the cases in this folder: tiny random models, adapters, and what peft makes of them.

Run in this folder with torch, transformers and peft: python3 make.py
Written with peft 0.21.2, transformers 5.24, torch 2.15 (CPU, one thread)."""

import json
import os
import shutil

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel, Qwen2Config, Qwen2ForCausalLM

torch.set_num_threads(1)


def gpt2():
    return GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=12, n_head=2, vocab_size=16, n_positions=4))


def qwen2(layers=1):
    return Qwen2ForCausalLM(
        Qwen2Config(num_hidden_layers=layers, hidden_size=16, intermediate_size=20, num_attention_heads=2,
                    num_key_value_heads=1, vocab_size=20, tie_word_embeddings=False))


CASES = {
    "conv1d": (gpt2, torch.float32, dict(
        r=3, lora_alpha=8, use_rslora=True, bias="all", fan_in_fan_out=True,
        target_modules=["c_attn", "c_proj", "c_fc"])),
    "patterns": (lambda: qwen2(2), torch.bfloat16, dict(
        r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "up_proj"],
        rank_pattern={"layers.1.self_attn.q_proj": 2},
        alpha_pattern={r"layers\.[0-9]+\.mlp\..*": 3, "^model.*v_proj": 5},
        modules_to_save=["lm_head", "norm"])),
    "embedding": (qwen2, torch.bfloat16, dict(
        r=4, lora_alpha=6, target_modules=["embed_tokens"])),
    "lora-bias": (qwen2, torch.float16, dict(
        r=2, lora_alpha=6, lora_bias=True, target_modules=["q_proj", "k_proj"])),
    "dora": (qwen2, torch.float32, dict(
        r=4, lora_alpha=8, use_dora=True, target_modules=["embed_tokens", "q_proj", "down_proj"])),
    "dora-conv1d": (gpt2, torch.float32, dict(
        r=2, lora_alpha=8, use_dora=True, fan_in_fan_out=True, target_modules=["c_attn", "c_proj"])),
}


def perturb(model):
    for name, parameter in model.named_parameters():
        if "lora_magnitude" in name:
            parameter.data.mul_(1 + 0.1 * torch.randn_like(parameter))
        elif "lora_" in name:
            parameter.data = torch.randn_like(parameter) * 0.05
        elif parameter.requires_grad:
            parameter.data.add_(torch.randn_like(parameter) * 0.02)


def keep(folder, names):
    for name in os.listdir(folder):
        if name not in names:
            os.remove(os.path.join(folder, name))


for case, (make, dtype, arguments) in CASES.items():
    torch.manual_seed(5)
    shutil.rmtree(case, ignore_errors=True)
    base, adapter, merged = (os.path.join(case, part) for part in ("base", "adapter", "merged"))
    make().to(dtype).save_pretrained(base)
    model = make().__class__.from_pretrained(base)
    trained = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **arguments))
    perturb(trained)
    trained.save_pretrained(adapter)
    again = PeftModel.from_pretrained(model.__class__.from_pretrained(base), adapter)
    again.merge_and_unload().save_pretrained(merged)
    keep(base, {"config.json", "model.safetensors"})
    keep(adapter, {"adapter_config.json", "adapter_model.safetensors"})
    keep(merged, {"model.safetensors"})
