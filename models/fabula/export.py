"""Write Fabula's checkpoint as GGUF: matrices as Q8_0, norms as F32, tokenizer and chat template inside.

Run from the `models` folder: `python -m fabula.export`. The same checkpoint gives the same bytes.
"""

import argparse
import json
from pathlib import Path

import gguf
import torch
from gguf import GGMLQuantizationType, GGUFWriter, TokenType

from fabula.model import Shape
from fabula.train import END, SPECIALS, START

SIZE_MAX_BYTES = 8_000_000
# No `<|start|>` here: readers put it before the text themselves (`add_bos_token`).
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)


def describe(writer: GGUFWriter, shape: Shape) -> None:
    """What the file is and the sizes of the network."""
    writer.add_name("Fabula")
    writer.add_description("A small storyteller, trained on text of its own grammar only.")
    writer.add_license("Apache-2.0 OR MIT")
    writer.add_languages(["en"])
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def add_tokenizer(writer: GGUFWriter, path: Path, size: int) -> None:
    """Tokens, merges, special ids and the chat template."""
    bpe = json.loads(path.read_text())["model"]
    tokens = sorted(bpe["vocab"], key=bpe["vocab"].__getitem__)
    assert len(tokens) == size and tokens[: len(SPECIALS)] == SPECIALS, "the tokenizer does not fit the network"
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in bpe["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL if token in SPECIALS else TokenType.NORMAL for token in tokens])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(START)
    writer.add_eos_token_id(END)
    writer.add_eot_token_id(END)
    writer.add_pad_token_id(END)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_chat_template(TEMPLATE)


def add_tensors(writer: GGUFWriter, weights: dict[str, torch.Tensor]) -> None:
    """Matrices in blocks of 32 eight-bit numbers, vectors as they are; the names are already GGUF's."""
    for name, tensor in sorted(weights.items()):
        values = tensor.float().numpy()
        if values.ndim == 1:
            writer.add_tensor(name, values)
        else:
            blocks = gguf.quants.quantize(values, GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, blocks, raw_dtype=GGMLQuantizationType.Q8_0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("work"), help="where tokenizer and checkpoint are")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "model.gguf")
    options = parser.parse_args()
    shape = Shape()
    writer = GGUFWriter(options.out, "llama")
    describe(writer, shape)
    add_tokenizer(writer, options.folder / "tokenizer.json", shape.vocabulary)
    add_tensors(writer, torch.load(options.folder / "checkpoint.pt")["model"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    size_bytes = options.out.stat().st_size
    assert size_bytes <= SIZE_MAX_BYTES, f"{size_bytes} bytes are too many"
    print(f"{options.out.name}: {size_bytes} bytes")


if __name__ == "__main__":
    main()
