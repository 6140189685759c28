"""Make the language models that the table measures, and build the peer: real shapes, random weights, llama.cpp's mixes.

    python3 benches/language_models.py FOLDER             # the models, works.json, and the peer
    python3 benches/language_models.py FOLDER --no-peer   # without llama.cpp

Makes a virtual environment under target/peers-language on the first run; the peer (`benches/llama`) is built by
its cmake and libclang into target/llama-peer. Equal versions write equal bytes. works.json lists what there is:

    [{"name", "file", "parameters"}]

Weights are random blocks, not quantised numbers: a block of any bits is a valid one, and its scale sets the deviation.
Speed does not depend on what weights say. The vocabulary is llama's kind: bytes, letters, and all runs of two and
three letters, so that any text can be written in it.
"""

import itertools
import json
import os
import pathlib
import string
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
VENV = ROOT / "target" / "peers-language"
PEER = ROOT / "target" / "llama-peer"
PACKAGES = ["cmake==4.4.4", "gguf==0.19.0", "libclang==18.1.1", "numpy==2.4.6", "xllamacpp==2026.10.11549"]
SEED = 4
VOCABULARY = 32_000
EPSILON, ROPE_BASE, CONTEXT = 1e-5, 10_000.0, 2048
SHAPES = {
    "125m": {"layers": 12, "width": 768, "heads": 12, "kv_heads": 4, "hidden": 2048},
    "1b": {"layers": 22, "width": 2048, "heads": 32, "kv_heads": 4, "hidden": 5632},
}
MODELS = [("125m", "Q8_0"), ("125m", "Q4_0"), ("125m", "Q4_K"), ("1b", "Q8_0")]
# What the columns of a matrix get at once, so that memory stays small.
BLOCKS_AT_ONCE = 1 << 20


def in_venv():
    """Run again inside the virtual environment, made if need be."""
    python = VENV / "bin" / "python3"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    os.execv(python, [python, __file__, "--inside", *sys.argv[1:]])


def vocabulary():
    """Tokens, scores and kinds: control, bytes, then pieces, the longer the better."""
    letters = string.ascii_lowercase
    pairs = ["".join(pair) for pair in itertools.product(letters, repeat=2)]
    triples = ["".join(triple) for triple in itertools.product(letters, repeat=3)]
    singles = ["\u2581", *(chr(code) for code in range(33, 127))]
    words = [f"\u2581{part}" for part in [*letters, *pairs, *triples]]
    pieces = [*singles, *words, *pairs, *triples]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces][:VOCABULARY]
    kinds = [gguf.TokenType.UNKNOWN, *[gguf.TokenType.CONTROL] * 2, *[gguf.TokenType.BYTE] * 256]
    kinds += [gguf.TokenType.NORMAL] * (len(tokens) - len(kinds))
    scores = [0.0] * 259 + [float(len(token) * 100_000 - index) for index, token in enumerate(tokens[259:])]
    assert len(tokens) == len(set(tokens)) == VOCABULARY
    return tokens, scores, kinds


def scales(rng, count, deviation):
    """Half-precision scales of either sign, near `deviation`, so that weights have no mean."""
    size = deviation * rng.uniform(0.8, 1.2, count) * rng.choice((-1.0, 1.0), count)
    return size.astype(np.float16).view(np.uint8).reshape(count, 2)


def blocks(rng, kind, count, deviation):
    """`count` blocks of random bits whose weights deviate by about `deviation`."""
    noise = lambda width: rng.integers(0, 256, (count, width), dtype=np.uint8)
    if kind == "Q8_0":  # scale, 32 integers; -128 is not written by quantisers
        whole = noise(32)
        return np.hstack([scales(rng, count, deviation / 73.6), np.where(whole == 128, 129, whole)])
    if kind == "Q4_0":  # scale, 32 nibbles less eight
        return np.hstack([scales(rng, count, deviation / 4.64), noise(16)])
    if kind == "Q4_K":  # scale, scale of minima, eight pairs of six bits, 256 nibbles
        both = [scales(rng, count, deviation / 290), scales(rng, count, deviation / 290)]
        return np.hstack([*both, noise(12), noise(128)])
    if kind == "Q6_K":  # low bits, high bits, 16 scales of eight bits, scale
        return np.hstack([noise(128), noise(64), noise(16), scales(rng, count, deviation / 1360)])
    raise ValueError(kind)


def matrix(rng, kind, rows, columns, deviation):
    """Rows of blocks."""
    elements, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    count = rows * columns // elements
    whole = np.empty((count, size), dtype=np.uint8)
    for start in range(0, count, BLOCKS_AT_ONCE):
        part = whole[start : start + BLOCKS_AT_ONCE]
        part[:] = blocks(rng, kind, len(part), deviation)
    return whole.reshape(rows, columns // elements * size)


def kind_of(name, model_kind, layer, layers):
    """The mix that llama.cpp makes: a fine output, and in Q4_K_M half of the values and the second products finer."""
    if model_kind == "Q8_0":
        return "Q8_0"
    if name == "output":
        return "Q6_K"
    eighth = layers // 8
    fine = layer is not None and (layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2)
    return "Q6_K" if model_kind == "Q4_K" and name in ("attn_v", "ffn_down") and fine else model_kind


def matrices(shape):
    """Name, layer, rows, columns and deviation of each matrix."""
    width, hidden, layers = shape["width"], shape["hidden"], shape["layers"]
    kv = width // shape["heads"] * shape["kv_heads"]
    inner = {"attn_q": (width, width), "attn_k": (kv, width), "attn_v": (kv, width), "attn_output": (width, width)}
    inner |= {"ffn_gate": (hidden, width), "ffn_up": (hidden, width), "ffn_down": (width, hidden)}
    yield "token_embd", None, VOCABULARY, width, 1.0
    yield "output", None, VOCABULARY, width, 2.0 * width**-0.5
    for layer in range(layers):
        for name, (rows, columns) in inner.items():
            onto_stream = name in ("attn_output", "ffn_down")
            yield name, layer, rows, columns, columns**-0.5 * ((2 * layers) ** -0.5 if onto_stream else 1.0)


def describe(writer, name, kind, shape):
    """Sizes, rules and the vocabulary."""
    writer.add_name(name)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(shape["width"])
    writer.add_block_count(shape["layers"])
    writer.add_feed_forward_length(shape["hidden"])
    writer.add_head_count(shape["heads"])
    writer.add_head_count_kv(shape["kv_heads"])
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_rope_dimension_count(shape["width"] // shape["heads"])
    writer.add_vocab_size(VOCABULARY)
    file_type = {"Q8_0": "MOSTLY_Q8_0", "Q4_0": "MOSTLY_Q4_0", "Q4_K": "MOSTLY_Q4_K_M"}[kind]
    writer.add_file_type(gguf.LlamaFileType[file_type])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    tokens, scores, kinds = vocabulary()
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)


def make(path, name, kind, shape):
    """Write one model; how many parameters it has."""
    writer = gguf.GGUFWriter(path, "llama")
    describe(writer, name, kind, shape)
    rng, parameters = np.random.default_rng(SEED), 0

    def norm(tensor):
        writer.add_tensor(tensor, rng.uniform(0.9, 1.1, shape["width"]).astype(np.float32))

    for matrix_name, layer, rows, columns, deviation in matrices(shape):
        block_kind = kind_of(matrix_name, kind, layer, shape["layers"])
        prefix = "" if layer is None else f"blk.{layer}."
        data = matrix(rng, block_kind, rows, columns, deviation)
        writer.add_tensor(f"{prefix}{matrix_name}.weight", data, raw_dtype=gguf.GGMLQuantizationType[block_kind])
        parameters += rows * columns
        if matrix_name in ("attn_q", "ffn_gate"):
            norm(f"{prefix}{'attn' if matrix_name == 'attn_q' else 'ffn'}_norm.weight")
    norm("output_norm.weight")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return parameters


def build_peer():
    """llama.cpp with all that this processor has, by the crate `llama-cpp-2`."""
    site = next((VENV / "lib").glob("python3*/site-packages"))
    headers = subprocess.run(["gcc", "-print-file-name=include"], check=True, capture_output=True, text=True)
    environment = os.environ | {
        "PATH": f"{VENV / 'bin'}:{os.environ['PATH']}",
        "LIBCLANG_PATH": str(site / "clang" / "native"),
        "BINDGEN_EXTRA_CLANG_ARGS": f"-I{headers.stdout.strip()}",
        "RUSTFLAGS": "-C target-cpu=native",
        "CXXFLAGS": f"-include {ROOT / 'benches' / 'llama' / 'tiles.h'}",
        "CARGO_TARGET_DIR": str(PEER),
    }
    for name in [name for name in environment if name.startswith("CARGO_") and name not in ("CARGO_HOME", "CARGO_TARGET_DIR")]:
        del environment[name]
    manifest = ROOT / "benches" / "llama" / "Cargo.toml"
    command = ["cargo", "build", "--release", "--locked", "--manifest-path", manifest]
    subprocess.run(command, check=True, env=environment)


def main(folder, with_peer):
    folder.mkdir(parents=True, exist_ok=True)
    works = []
    for size, kind in MODELS:
        name, path = f"{size} {kind}", folder / f"{size}-{kind.lower()}.gguf"
        part = path.with_suffix(".part")
        parameters = make(part, name, kind, SHAPES[size])
        os.replace(part, path)
        works.append({"name": name, "file": path.name, "parameters": parameters})
        print(f"{path.name}: {parameters / 1e6:.1f} M parameters, {path.stat().st_size / 1e6:.1f} MB", flush=True)
    if with_peer:
        build_peer()
    (folder / "works.json").write_text(json.dumps(works) + "\n")


if "--inside" not in sys.argv:
    in_venv()
import gguf  # noqa: E402
import numpy as np  # noqa: E402

if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    main(pathlib.Path(arguments[0]).resolve(), "--no-peer" not in sys.argv)
