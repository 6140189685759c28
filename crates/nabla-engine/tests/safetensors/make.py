"""Make small folders as Hugging Face has them, and the GGUF file that each of them is.

    pip install -r requirements.txt
    python make.py

For each class of models that is taken: a folder with random weights, written by `safetensors`, and `<name>.gguf` with the
same weights by the rules of llama.cpp's converter (names, permutations of queries and keys, norms and one), written by
`gguf`. The engine must read the same model from both, to the last bit.
"""

import json
import math
import pathlib
import shutil

import gguf
import numpy as np
import safetensors
from gguf import GGMLQuantizationType as T

HERE = pathlib.Path(__file__).parent
WIDTH, INNER, HEADS, KV_HEADS, SIZE, BLOCKS, ROWS, CONTEXT = 16, 12, 4, 2, 8, 2, 16, 64

# Eight tokens; the embedding has more rows.
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [
        {"id": 5, "content": "<|im_start|>", "special": True},
        {"id": 6, "content": "<|im_end|>", "special": True},
        {"id": 7, "content": "<|endoftext|>", "special": True},
    ],
    "normalizer": None,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
    "post_processor": None,
    "model": {
        "type": "BPE",
        "vocab": {"a": 0, "b": 1, "\u0120": 2, "ab": 3, "\u010a": 4},
        "merges": ["a b"],
    },
}
TEMPLATE = "{% for m in messages %}<|im_start|>a\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>b\n"

PLAIN = {
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "head_dim": SIZE,
    "num_hidden_layers": BLOCKS,
    "vocab_size": ROWS,
    "max_position_embeddings": CONTEXT,
    "rms_norm_eps": 1e-05,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}
GEMMA = {"hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}

# Class, type of weights, and what config.json says beyond PLAIN.
FAMILIES = {
    "llama": ("LlamaForCausalLM", T.F32, {"rope_theta": 10000.0, "rope_scaling": LLAMA3}),
    "mistral": ("MistralForCausalLM", T.F16, {"rope_theta": 1000000.0, "sliding_window": 4}),
    "qwen2": (
        "Qwen2ForCausalLM",
        T.BF16,
        {
            "rope_theta": 1000000.0,
            "use_sliding_window": False,
            "sliding_window": 32,
            "tie_word_embeddings": True,
            "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
        },
    ),
    "qwen3": ("Qwen3ForCausalLM", T.F32, {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
    "gemma": ("GemmaForCausalLM", T.BF16, {**GEMMA, "hidden_act": "gelu", "hidden_activation": None}),
    "gemma2": (
        "Gemma2ForCausalLM",
        T.F16,
        {
            **GEMMA,
            "query_pre_attn_scalar": 6,
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 3.0,
            "sliding_window": 4,
        },
    ),
    "gemma3": (
        "Gemma3ForCausalLM",
        T.BF16,
        {
            **GEMMA,
            "query_pre_attn_scalar": 8,
            "sliding_window": 4,
            "layer_types": ["sliding_attention", "full_attention"],
            "rope_theta": 1000000.0,
            "rope_local_base_freq": 10000.0,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        },
    ),
    "phi3": ("Phi3ForCausalLM", T.F16, {"sliding_window": 4, "partial_rotary_factor": 0.5, "head_dim": None}),
}


def exact(values, kind):
    """Values that the type has."""
    if kind == T.F16:
        return values.astype(np.float16).astype(np.float32)
    if kind == T.BF16:
        return (values.view(np.uint32) & 0xFFFF0000).view(np.float32)
    return values


def weights(name, config):
    """All tensors by the names of transformers."""
    rng = np.random.default_rng(11)
    kind = FAMILIES[name][1]

    def make(*shape):
        return exact((rng.standard_normal(shape) * 0.5).astype(np.float32), kind)

    size = config["head_dim"] or WIDTH // HEADS
    made = {"model.embed_tokens.weight": make(ROWS, WIDTH), "model.norm.weight": make(WIDTH)}
    if not config["tie_word_embeddings"]:
        made["lm_head.weight"] = make(ROWS, WIDTH)
    for block in range(BLOCKS):
        at = f"model.layers.{block}."
        made[at + "input_layernorm.weight"] = make(WIDTH)
        made[at + "post_attention_layernorm.weight"] = make(WIDTH)
        made[at + "self_attn.o_proj.weight"] = make(WIDTH, HEADS * size)
        made[at + "mlp.down_proj.weight"] = make(WIDTH, INNER)
        if name == "phi3":
            made[at + "self_attn.qkv_proj.weight"] = make((HEADS + 2 * KV_HEADS) * size, WIDTH)
            made[at + "mlp.gate_up_proj.weight"] = make(2 * INNER, WIDTH)
        else:
            for part, heads in (("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)):
                made[at + f"self_attn.{part}_proj.weight"] = make(heads * size, WIDTH)
                if name == "qwen2":
                    made[at + f"self_attn.{part}_proj.bias"] = make(heads * size)
            made[at + "mlp.gate_proj.weight"] = make(INNER, WIDTH)
            made[at + "mlp.up_proj.weight"] = make(INNER, WIDTH)
        if name in ("qwen3", "gemma3"):
            made[at + "self_attn.q_norm.weight"] = make(size)
            made[at + "self_attn.k_norm.weight"] = make(size)
        if name in ("gemma2", "gemma3"):
            made[at + "pre_feedforward_layernorm.weight"] = make(WIDTH)
            made[at + "post_feedforward_layernorm.weight"] = make(WIDTH)
    return made


def raw(values, kind):
    """The bytes of values in a type that has them exactly."""
    values = np.ascontiguousarray(values)
    if kind == T.F32:
        return values.astype("<f4").tobytes()
    if kind == T.F16:
        return values.astype("<f2").tobytes()
    return (values.view(np.uint32) >> 16).astype("<u2").tobytes()


def write_folder(name, config, tensors):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    kind = FAMILIES[name][1]
    dtype = {T.F32: "float32", T.F16: "float16", T.BF16: "bfloat16"}[kind]
    # The writer takes addresses: the bytes stay here while it runs.
    kept = {key: np.frombuffer(raw(values, kind), np.uint8) for key, values in tensors.items()}
    entries = {
        key: safetensors.TensorSpec(
            dtype=dtype, shape=list(values.shape), data_ptr=kept[key].ctypes.data, data_len=kept[key].size
        )
        for key, values in tensors.items()
    }
    if name == "llama":
        # In two files with an index.
        keys = sorted(entries)
        parts = {"model-00001-of-00002.safetensors": keys[::2], "model-00002-of-00002.safetensors": keys[1::2]}
        for file, of_file in parts.items():
            part = {key: entries[key] for key in of_file}
            (folder / file).write_bytes(safetensors.serialize(part, {"format": "pt"}))
        index = {"metadata": {"total_size": 0}, "weight_map": {key: file for file, of in parts.items() for key in of}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")
    else:
        (folder / "model.safetensors").write_bytes(safetensors.serialize(entries, {"format": "pt"}))
    config = {"architectures": [FAMILIES[name][0]], "eos_token_id": [6, 7], "bos_token_id": 5, **config}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER) + "\n")
    settings = {
        "add_bos_token": False,
        "bos_token": None,
        "eos_token": {"content": "<|im_end|>"},
        "pad_token": "<|endoftext|>",
        "chat_template": TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings) + "\n")


def permute(values, heads):
    rows = values.shape[0] // heads // 2
    return values.reshape(heads, 2, rows, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def renamed(name, key):
    top = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    part, kind = key.rsplit(".", 1)
    if part in top:
        return f"{top[part]}.{kind}"
    block, part = part.removeprefix("model.layers.").split(".", 1)
    behind = "post_attention_norm" if name in ("gemma2", "gemma3") else "ffn_norm"
    return f"blk.{block}.{NAMES.get(part, behind)}.{kind}"


def llama3_factors(theta, size):
    """What the angle of each pair is divided by."""
    low, high = (LLAMA3["original_max_position_embeddings"] / LLAMA3[key] for key in ("low_freq_factor", "high_freq_factor"))
    factors = []
    for pair in range(size // 2):
        wave = 2 * math.pi / theta ** (-2 * pair / size)
        ramp = (128 / wave - 1.0) / (4.0 - 1.0)
        factors.append(1.0 if wave < high else 8.0 if wave > low else 1 / ((1 - ramp) / 8.0 + ramp))
    assert len(set(factors)) == 3, "the ramp is used"
    return np.array(factors, dtype=np.float32)


def write_gguf(name, config, tensors):
    arch = "llama" if name == "mistral" else name
    kind = FAMILIES[name][1]
    writer = gguf.GGUFWriter(HERE / f"{name}.gguf", arch)
    writer.add_block_count(BLOCKS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    if config["head_dim"]:
        writer.add_key_length(SIZE)
        writer.add_value_length(SIZE)
    writer.add_vocab_size(ROWS)
    writer.add_layer_norm_rms_eps(1e-05)
    writer.add_rope_freq_base(config.get("rope_theta", 10000.0))
    extra(writer, name, arch)
    for key, values in tensors.items():
        new, kept = renamed(name, key), kind
        if name.startswith("gemma") and key.endswith("norm.weight"):
            values, kept = values + np.float32(1), T.F32
        if arch == "llama" and "q_proj" in key:
            values = permute(values, HEADS)
        if arch == "llama" and "k_proj" in key:
            values = permute(values, KV_HEADS)
        if kept == T.F32:
            writer.add_tensor(new, values)
        else:
            writer.add_tensor(new, gguf.quants.quantize(values, kept), raw_dtype=kept)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def extra(writer, name, arch):
    if name == "llama":
        writer.add_tensor("rope_freqs.weight", llama3_factors(10000.0, SIZE))
    if name in ("mistral", "gemma2", "gemma3", "phi3"):
        writer.add_sliding_window(4)
    if name == "qwen2":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(4.0)
        writer.add_rope_scaling_orig_ctx_len(16)
    if name in ("qwen3", "gemma3"):
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(2.0 if name == "qwen3" else 8.0)
    if name == "gemma2":
        writer.add_attn_logit_softcapping(5.0)
        writer.add_final_logit_softcapping(3.0)
    if name in ("gemma2", "gemma3"):
        writer.add_float32(f"{arch}.attention.scale", float(np.float32(1) / np.sqrt(np.float32(6 if name == "gemma2" else 8))))
    if name == "gemma3":
        writer.add_float32(f"{arch}.rope.freq_base_swa", 10000.0)
        writer.add_array(f"{arch}.attention.sliding_window_pattern", [True, False])
    if name == "phi3":
        writer.add_rope_dimension_count(2)


for family, (_, _, changes) in FAMILIES.items():
    settings = {**PLAIN, **changes}
    made = weights(family, settings)
    write_folder(family, settings, made)
    write_gguf(family, settings, made)
