"""Read `model.gguf` back with two readers, compare them, and let the model speak.

Run from the `models` folder: `python -m fabula.check`. One reader is this folder's own PyTorch
network on the dequantised weights, the other is llama.cpp. Both answer the prompts of
`PROMPTS` greedily; `examples/greedy.json` keeps the tokens of both. llama.cpp also rounds the
activations to eight bits, so that a near tie may fall the other way: where the two differ,
`same_for` says after how many tokens.
"""

import argparse
import json
import math
from pathlib import Path

import gguf
import jinja2
import torch
import xllamacpp
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from fabula.model import Model, Shape
from fabula.train import END, START, held_out_loss

GREEDY_TOKENS = 64
PROMPTS = (
    "Hello!", "Who are you?", "What colour is the sky?", "What is 7 + 5?", "Tell me a story about a dragon",
    "Write a story about a brave mouse and a lost key", "List three animals.", "What is the capital of Australia?",
    "hi", "what can you do", "Thank you!", "What is your name?", "What does a cow say?", "What is the opposite of hot?", "What day comes after Friday?",
    "Which is bigger, 12 or 9?", "Is an elephant bigger than a mouse?", "Where do you keep milk?", "Who won the world cup?", "What is bitcoin?",
    "Rewrite in the past tense: The fox finds a ball.", "Write a poem about the moon", "Tell me a joke", "Count to ten", "My name is Robert.",
    "Tell me a story about a fox who lost her hat.", "Tell me a story about a pirate and a parrot", "write a story about a programmer",
    "Tell me a story about friendship", "Tell me a story about a glimbo", "Continue: Once there was a frog named Otto.", "What is 13 - 6?", "What is Nabla?",
)


def field(reader: gguf.GGUFReader, key: str) -> object:
    """One metadata value."""
    return reader.fields[key].contents()


def read_tokenizer(reader: gguf.GGUFReader) -> Tokenizer:
    """The tokenizer as the file describes it, without a look at the training folder."""
    tokens, merges = field(reader, "tokenizer.ggml.tokens"), field(reader, "tokenizer.ggml.merges")
    types = field(reader, "tokenizer.ggml.token_type")
    bpe = models.BPE({token: index for index, token in enumerate(tokens)}, [tuple(merge.split(" ")) for merge in merges])
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, types, strict=True) if kind == gguf.TokenType.CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in control])
    return tokenizer


def read_model(reader: gguf.GGUFReader) -> Model:
    """The network with dequantised weights."""
    weights = {t.name: torch.from_numpy(gguf.quants.dequantize(t.data, t.tensor_type).copy()) for t in reader.tensors}
    model = Model(Shape())
    model.load_state_dict(weights)
    return model.eval()


def chat_text(reader: gguf.GGUFReader, messages: list[dict[str, str]]) -> str:
    """The file's own chat template, applied."""
    template = jinja2.Template(field(reader, "tokenizer.chat_template"))
    return template.render(messages=messages, add_generation_prompt=True)


def greedy(model: Model, prompt: list[int]) -> list[int]:
    """The most probable tokens, at most `GREEDY_TOKENS`, up to the end token, which is left out."""
    tokens = list(prompt)
    with torch.no_grad():
        while len(tokens) < len(prompt) + GREEDY_TOKENS:
            best = int(model(torch.tensor([tokens]))[0, -1].argmax())
            if best == END:
                break
            tokens.append(best)
    return tokens[len(prompt):]


def llama_cpp(path: Path) -> xllamacpp.Server:
    """llama.cpp on one CPU thread."""
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel, params.n_gpu_layers = Shape().context, 1, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.use_jinja, params.warmup, params.verbosity = True, False, 0
    return xllamacpp.Server(params)


def complete(server: xllamacpp.Server, prompt: str) -> tuple[list[int], int]:
    """llama.cpp's greedy tokens for a text, and how many tokens it saw in that text."""
    answer = server.handle_completions({
        "prompt": prompt, "n_predict": GREEDY_TOKENS, "temperature": 0.0, "top_k": 1, "n_probs": 1, "cache_prompt": False,
    })
    pieces = answer["choices"][0]["logprobs"]["content"]
    return [piece["id"] for piece in pieces if piece["id"] != END], answer["usage"]["prompt_tokens"]


def chat(server: xllamacpp.Server, messages: list[dict[str, str]], temperature: float) -> str:
    """llama.cpp's answer to a chat; it applies the template itself."""
    answer = server.handle_chat_completions({"messages": messages, "temperature": temperature, "max_tokens": 320, "seed": 1})
    return answer["choices"][0]["message"]["content"]


def compare(reader: gguf.GGUFReader, model: Model, tokenizer: Tokenizer, server: xllamacpp.Server) -> list[dict[str, object]]:
    """Both readers on the prompts; a different reading of the prompt itself is an error."""
    rows: list[dict[str, object]] = []
    for ask in PROMPTS:
        prompt = chat_text(reader, [{"role": "user", "content": ask}])
        ids = [START, *tokenizer.encode(prompt).ids]
        ours = greedy(model, ids)
        theirs, seen = complete(server, prompt)
        assert seen == len(ids), f"{ask}: llama.cpp saw {seen} tokens, the tokenizer made {len(ids)}"
        same = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
        rows.append({
            "prompt": ask, "prompt_tokens": ids, "pytorch": ours, "llama_cpp": theirs,
            "same_for": same, "equal": ours == theirs, "text": tokenizer.decode(ours),
        })
    return rows


def speak(server: xllamacpp.Server) -> None:
    """Print answers at both temperatures, and one chat of several turns."""
    for temperature in (0.0, 0.8):
        for ask in PROMPTS:
            print(f"[{temperature}] {ask}\n    {chat(server, [{'role': 'user', 'content': ask}], temperature)}")
    messages: list[dict[str, str]] = []
    for ask in ("Hi there!", "Tell me a story about a shy bear", "What was the name of the bear?", "Thanks! And what is 3 + 4?", "Another story, please", "Who is the hero?"):
        messages.append({"role": "user", "content": ask})
        messages.append({"role": "assistant", "content": chat(server, messages, 0.0)})
        print(f"> {ask}\n    {messages[-1]['content']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path(__file__).parent / "model.gguf")
    parser.add_argument("--save", action="store_true", help="rewrite examples/greedy.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    reader = gguf.GGUFReader(options.model)
    model, tokenizer = read_model(reader), read_tokenizer(reader)
    server = llama_cpp(options.model)
    rows = compare(reader, model, tokenizer, server)
    for row in rows:
        print(f"{row['prompt']}: equal {row['equal']}, same for {row['same_for']} tokens")
    if options.save:
        path = Path(__file__).parent / "examples" / "greedy.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"model": "model.gguf", "rows": rows}, separators=(",", ":")) + "\n")
    speak(server)
    loss = held_out_loss(model, tokenizer)
    print(f"held-out loss {loss:.4f} per token of the assistant, perplexity {math.exp(loss):.3f}")


if __name__ == "__main__":
    main()
