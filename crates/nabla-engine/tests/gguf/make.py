"""Make what the tests of GGUF files read, with the reference package.

    pip install gguf==0.19.0 numpy==2.4.6
    python make.py

Writes beside itself:
- blocks.json: blocks of weights, and what `gguf.quants.dequantize` makes of them. `blocks` are hex, `values` the f32 of the
  first ones (little endian, hex), `digests` the first 8 bytes of the SHA-256 of the values of each block.
- *.gguf: whole small models, written by the package's `GGUFWriter`.
"""

import hashlib
import json
import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

HERE = pathlib.Path(__file__).parent
COUNT = 200
SHOWN = 4
# Halves at the ends of what is finite, and plain ones: zeros, the least subnormal, the greatest one, the least normal one,
# one, the greatest, each with both signs.
EXTREMES = [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x83FF, 0x0400, 0x8400, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF]
# Where the halves of a block lie.
HALVES = {T.Q8_0: [0], T.Q4_0: [0], T.Q4_K: [0, 2], T.Q6_K: [208], T.F16: [0], T.BF16: []}


def finite(rng):
    """A finite half, of any size."""
    return int(rng.integers(0, 0x7C00)) | int(rng.integers(0, 2)) << 15


def blocks_of(kind, rng):
    size = gguf.GGML_QUANT_SIZES[kind][1]
    blocks = rng.integers(0, 256, (COUNT, size), dtype=np.uint8)
    for index in range(COUNT):
        for place, at in enumerate(HALVES[kind]):
            pick = index // len(EXTREMES) ** place % len(EXTREMES)
            half = EXTREMES[pick] if index < len(EXTREMES) ** 2 else finite(rng)
            blocks[index, at : at + 2] = np.frombuffer(half.to_bytes(2, "little"), np.uint8)
        if kind == T.BF16 and blocks[index, 1] & 0x7F == 0x7F and blocks[index, 0] & 0x80:
            blocks[index, 0] &= 0x7F
    # All integers at their ends, with a plain scale.
    for index, byte in ((COUNT - 1, 0xFF), (COUNT - 2, 0x00), (COUNT - 3, 0x80), (COUNT - 4, 0x7F)):
        if kind not in (T.F16, T.BF16):
            blocks[index] = byte
            for at in HALVES[kind]:
                blocks[index, at : at + 2] = (0x00, 0x3C)
    return blocks


def vectors():
    rng = np.random.default_rng(20260101)
    out = {}
    for kind in HALVES:
        blocks = blocks_of(kind, rng)
        values = gguf.quants.dequantize(blocks, kind).astype("<f4")
        assert np.isfinite(values).all(), kind
        rows = [row.tobytes() for row in values]
        out[kind.name] = {
            "blocks": [block.tobytes().hex() for block in blocks],
            "values": [row.hex() for row in rows[:SHOWN]],
            "digests": [hashlib.sha256(row).hexdigest()[:16] for row in rows],
        }
    text = json.dumps({"package": "gguf 0.19.0", "formats": out}, indent=0)
    (HERE / "blocks.json").write_text(text + "\n")


def tensor(writer, rng, name, rows, columns, kind=T.F32):
    shape = (rows, columns) if rows else (columns,)
    values = rng.standard_normal(shape).astype(np.float32)
    if kind == T.F32:
        writer.add_tensor(name, values)
    else:
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)


def model(arch, width, inner, heads, kv_heads, size, kind, extra):
    """One block, four tokens."""
    path = HERE / f"{arch}.gguf"
    rng = np.random.default_rng(7)
    writer = gguf.GGUFWriter(path, arch)
    writer.add_name(f"a small {arch}")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_token_list(["<s>", "a", "b", "ab"])
    writer.add_token_scores([0.0, -1.0, -2.0, -0.5])
    writer.add_token_types([3, 1, 1, 1])
    extra(writer, rng)
    for name, rows in (("token_embd", 4), ("output_norm", 0), ("blk.0.attn_norm", 0), ("blk.0.ffn_norm", 0)):
        tensor(writer, rng, f"{name}.weight", rows, width, kind if rows else T.F32)
    for name, rows in (("attn_q", heads), ("attn_k", kv_heads), ("attn_v", kv_heads)):
        tensor(writer, rng, f"blk.0.{name}.weight", rows * size, width, kind)
    tensor(writer, rng, "blk.0.attn_output.weight", width, heads * size, kind)
    tensor(writer, rng, "blk.0.ffn_gate.weight", inner, width, kind)
    tensor(writer, rng, "blk.0.ffn_up.weight", inner, width, kind)
    tensor(writer, rng, "blk.0.ffn_down.weight", width, inner, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def llama(writer, rng):
    writer.add_rope_dimension_count(4)
    tensor(writer, rng, "output.weight", 4, 8)
    tensor(writer, rng, "rope_freqs.weight", 0, 2)


def qwen2(writer, rng):
    for name, rows in (("attn_q", 32), ("attn_k", 16), ("attn_v", 16)):
        tensor(writer, rng, f"blk.0.{name}.bias", 0, rows)


def gemma3(writer, rng):
    writer.add_sliding_window(16)
    writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    writer.add_rope_scaling_factor(8.0)
    for name, columns in (
        ("attn_q_norm", 4),
        ("attn_k_norm", 4),
        ("post_attention_norm", 8),
        ("post_ffw_norm", 8),
    ):
        tensor(writer, rng, f"blk.0.{name}.weight", 0, columns)


vectors()
model("llama", 8, 8, 2, 1, 4, T.F32, llama)
model("qwen2", 32, 32, 2, 1, 16, T.Q8_0, qwen2)
model("gemma3", 8, 8, 2, 1, 4, T.BF16, gemma3)
