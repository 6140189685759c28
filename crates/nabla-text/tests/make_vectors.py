"""Makes vectors.json: what independent readers make of texts, with two small vocabularies.

Byte-level BPE is trained by `tokenizers`, SentencePiece by `sentencepiece`. Each vocabulary is written into
a GGUF file with a tiny model of zeros, once for each pre-tokeniser, and llama.cpp (through `xllamacpp`)
tokenizes the texts; `tokenizers` reads the same vocabulary as a `tokenizer.json`.

    python3 -m venv target/text-venv
    target/text-venv/bin/pip install -r crates/nabla-text/tests/requirements.txt
    target/text-venv/bin/python crates/nabla-text/tests/make_vectors.py target/text-work
"""

import json
import pathlib
import random
import sys
import urllib.request

import gguf
import numpy
import sentencepiece
import tokenizers
import xllamacpp

HERE = pathlib.Path(__file__).parent
WORK = pathlib.Path(sys.argv[1])
SPECIALS = ["<|begin|>", "<|end|>", "<|turn|>"]
USER_DEFINED = ["<tool>"]
PRE = ["default", "gpt-2", "llama-bpe", "qwen2", "smollm", "tekken", "gpt-4o", "deepseek-v3"]

SENTENCES = """The river carries the light of the morning down to the harbour, where the boats wait for the tide.
A machine that answers must be able to say why it answered, and anyone should be able to check it.
Numbers such as 3.14159, 1,000,000 and 0x7f are written in many ways; dates like 2031-05-17 too.
don't, can't, we'll, I've, they're, she'd: English is full of apostrophes. IT'S TRUE, ISN'T IT?
def count(words):\n    total = 0\n    for word in words:\n        total += len(word)\n    return total
fn main() { let names = vec!["one", "two"]; println!("{:?}", names); }
Die Straße führt über die Brücke; größere Häuser stehen dahinter. Où est l'école? Là-bas, près du café.
El niño comió una manzana. ¿Dónde está la biblioteca? Привет, мир! Как дела сегодня? Γειά σου Κόσμε.
今日は良い天気です。東京へ行きました。机器学习模型可以验证。안녕하세요 세계 여러분.
مرحبا بالعالم كيف حالك שלום עולם नमस्ते दुनिया สวัสดีชาวโลก
🙂🙃 ❤️ 👩‍💻 🇩🇪 ½ ② ＡＢＣ ﬁ e\u0301 A\u030a \u200b\u00a0\u3000
<html><body class="x">text &amp; more</body></html> {"key": [1, 2.5, null, true]} a+b=c; x**2 // y""".split("\n")

PIECES = ["the", " answer", "don't", "WE'LL", "camelCaseHTML", "snake_case", " 12", "345678", "0", "٣٤", "Ⅷ", "½",
          " ", "  ", "     ", "\n", "\n\n", " \n ", "\t", "\r\n", "\u00a0", "\u3000", "\u200b", "é", "e\u0301", "ß",
          "Ünï", "Привет", "今日は", "東京", "漢", "안녕", "مرحبا", "नमस्ते", "สวัสดี", "🙂", "👩‍💻", "🇩🇪", "❤️", "...", "?!",
          "->", "==", "//", "/", "#", "$", "€", "+", "`", "~", "^", "'s", "'", "\"", "(", ")", "[]", "{}", "x",
          "\x00", "\x7f", "\ufffd", "\U0010ffff", "<", "<|", "|>", "<|end|>", "<tool>", "<|turn", "<s>", "<0x41>", "▁",
          "Ġ", "ɐ", "ǅ", "𝒜"]


def texts():
    rng = random.Random(7)
    made = [line for line in SENTENCES]
    made += [" " + line[:40] + "  " for line in SENTENCES]
    made += PIECES
    made += ["".join(rng.choices(PIECES, k=rng.randint(2, 9))) for _ in range(90)]
    made += ["a" * 40, " " * 23 + "x", "\n" * 9 + "x", "1" * 13, "ab" * 20, "!" * 17]
    return list(dict.fromkeys(made))


def corpus():
    rng = random.Random(1)
    words = " ".join(SENTENCES).split(" ")
    return SENTENCES * 20 + [" ".join(rng.choices(words, k=12)) for _ in range(400)]


def byte_level():
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=1000, show_progress=False, special_tokens=SPECIALS,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_tokens(USER_DEFINED)
    return json.loads(tokenizer.to_str())


def sentence_piece():
    path = WORK / "corpus.txt"
    path.write_text("\n".join(line for text in corpus() for line in text.split("\n")))
    sentencepiece.SentencePieceTrainer.train(
        input=str(path), model_prefix=str(WORK / "spm"), model_type="bpe", vocab_size=1000, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, character_coverage=0.99,
        control_symbols=SPECIALS, user_defined_symbols=USER_DEFINED, minloglevel=2)
    return sentencepiece.SentencePieceProcessor(model_file=str(WORK / "spm.model"))


def write_gguf(path, fields):
    """A model of one layer, all zeros: llama.cpp's tokenizer wants a model round it."""
    size, heads, forward = 32, 2, 64
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(4096)
    writer.add_embedding_length(size)
    writer.add_block_count(1)
    writer.add_feed_forward_length(forward)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(size // heads)
    fields(writer)
    count = fields.count
    shapes = {"token_embd": (count, size), "output_norm": (size,), "output": (count, size),
              "blk.0.attn_norm": (size,), "blk.0.ffn_norm": (size,), "blk.0.attn_q": (size, size),
              "blk.0.attn_k": (size, size), "blk.0.attn_v": (size, size), "blk.0.attn_output": (size, size),
              "blk.0.ffn_gate": (forward, size), "blk.0.ffn_up": (forward, size), "blk.0.ffn_down": (size, forward)}
    for name, shape in shapes.items():
        writer.add_tensor(name + ".weight", numpy.zeros(shape, dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def bpe_fields(file, pre):
    vocab = file["model"]["vocab"]
    added = {token["id"]: token for token in file["added_tokens"]}
    names = {id: name for name, id in vocab.items()} | {id: token["content"] for id, token in added.items()}
    tokens = [names[id] for id in range(len(names))]
    types = [(3 if added[id]["special"] else 4) if id in added else 1 for id in range(len(tokens))]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in file["model"]["merges"]]

    def fields(writer):
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list(tokens)
        writer.add_token_types(types)
        writer.add_token_merges(merges)
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(1)
        writer.add_add_bos_token(False)
    fields.count = len(tokens)
    fields.parts = {"tokens": tokens, "types": types, "merges": merges}
    return fields


def spm_fields(processor, prefix):
    ids = range(processor.vocab_size())
    tokens = [processor.id_to_piece(id) for id in ids]
    scores = [processor.get_score(id) for id in ids]

    def kind(id):
        if processor.is_unknown(id):
            return 2
        if processor.is_byte(id):
            return 6
        if processor.is_control(id):
            return 3
        return 4 if tokens[id] in USER_DEFINED else 1
    types = [kind(id) for id in ids]

    def fields(writer):
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_list([token.encode() for token in tokens])
        writer.add_token_scores(scores)
        writer.add_token_types(types)
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_unk_token_id(0)
        writer.add_add_bos_token(False)
        writer.add_add_space_prefix(prefix)
    fields.count = len(tokens)
    fields.parts = {"tokens": tokens, "types": types, "scores": scores}
    return fields


def llama_cpp(path, texts):
    """The tokens of each text, as text and with control tokens parsed."""
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = 256
    params.n_gpu_layers = 0
    params.warmup = False
    server = xllamacpp.Server(params)

    def tokenize(text, special):
        body = json.dumps({"content": text, "add_special": False, "parse_special": special}).encode()
        request = urllib.request.Request(server.listening_address + "/tokenize", body,
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["tokens"]
    made = [[tokenize(text, special) for text in texts] for special in (False, True)]
    del server
    return made


def main():
    WORK.mkdir(parents=True, exist_ok=True)
    all_texts = texts()
    file, processor = byte_level(), sentence_piece()
    made = {"texts": all_texts, "bpe": bpe_fields(file, "").parts, "spm": spm_fields(processor, True).parts,
            "vectors": []}
    expected = {}
    for pre in PRE:
        fields = bpe_fields(file, pre)
        write_gguf(WORK / "bpe.gguf", fields)
        expected["bpe " + pre] = llama_cpp(WORK / "bpe.gguf", all_texts)
    for prefix in (True, False):
        write_gguf(WORK / "spm.gguf", spm_fields(processor, prefix))
        expected[f"spm {str(prefix).lower()}"] = llama_cpp(WORK / "spm.gguf", all_texts)
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(file))
    parsed = [tokenizer.encode(text, add_special_tokens=False).ids for text in all_texts]
    tokenizer.encode_special_tokens = True
    plain = [tokenizer.encode(text, add_special_tokens=False).ids for text in all_texts]
    expected["tokenizers gpt-2"] = [plain, parsed]
    made["vectors"] = expected
    shared = {}
    # Most readers agree on most texts: each list of tokens is written once.
    for name, lists in expected.items():
        expected[name] = [[shared.setdefault(json.dumps(ids), len(shared)) for ids in ids_of] for ids_of in lists]
    made["tokens"] = [json.loads(ids) for ids in shared]
    text = json.dumps(made, ensure_ascii=False, separators=(",", ":"))
    (HERE / "vectors.json").write_text(text + "\n")
    print(len(all_texts), "texts,", len(text.encode()), "bytes")


main()
