"""CLIP's tokenizer: byte-level BPE over lower-case words that end in `</w>`.

`learn` makes a vocabulary in which every word of the captions is one token,
`Tokenizer` reads it back from the folder that CLIP tokenizers are stored in.
"""

import json
import re
import unicodedata
from functools import lru_cache
from pathlib import Path

START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 16
# Words over the kinds of characters: an English ending, letters, one digit, or other signs.
ENDING = re.compile("'(?:s|t|re|ve|m|ll|d)")
KINDS = re.compile("L+|N|x+")

Pair = tuple[str, str]


@lru_cache(maxsize=1)
def byte_letters() -> dict[int, str]:
    """A printable letter for each byte, as GPT-2 and CLIP assign them."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + i) for i, byte in enumerate(rest)}


def kind(letter: str) -> str:
    """L for a letter, N for a number, a space for white space, x for any other sign."""
    category = unicodedata.category(letter)[0]
    return category if category in "LN" else " " if letter.isspace() else "x"


def words(text: str) -> list[str]:
    """The words of a text, composed and in lower case, as CLIP cuts it."""
    text = "".join(letter.lower() for letter in unicodedata.normalize("NFC", text))
    kinds = "".join(map(kind, text))
    found, at = [], 0
    while at < len(text):
        match = ENDING.match(text, at) or KINDS.match(kinds, at)
        if match:
            found.append(text[at : match.end()])
        at = match.end() if match else at + 1
    return found


def letters(word: str) -> list[str]:
    """A word as letters of the byte alphabet, the last one marked as the end."""
    table = byte_letters()
    out = [table[byte] for byte in word.encode()]
    return [*out[:-1], out[-1] + "</w>"]


def merge(parts: list[str], pair: Pair) -> list[str]:
    """`parts` with every neighbouring `pair` joined, from the left."""
    out: list[str] = []
    for part in parts:
        if out and (out[-1], part) == pair:
            out[-1] += part
        else:
            out.append(part)
    return out


def learn(captions: list[str]) -> tuple[dict[str, int], list[Pair]]:
    """Vocabulary and merges: joins the most frequent pair until each word is one token."""
    known = sorted({word for caption in captions for word in words(caption)})
    parts = [letters(word) for word in known]
    merges: list[Pair] = []
    while any(len(word) > 1 for word in parts):
        pairs = [pair for word in parts for pair in zip(word, word[1:])]
        best = max(sorted(set(pairs)), key=pairs.count)
        merges.append(best)
        parts = [merge(word, best) for word in parts]
    alphabet = list(byte_letters().values())
    tokens = alphabet + [letter + "</w>" for letter in alphabet] + ["".join(pair) for pair in merges] + [START, END]
    return {token: index for index, token in enumerate(tokens)}, merges


def write(folder: Path, vocabulary: dict[str, int], merges: list[Pair]) -> None:
    """The four files of a CLIP tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    settings = special | {
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": LENGTH,
        "tokenizer_class": "CLIPTokenizer",
    }
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False, separators=(",", ":")) + "\n")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


class Tokenizer:
    """Reads a CLIP tokenizer's folder and turns a prompt into `length` token ids."""

    def __init__(self, folder: Path) -> None:
        self.vocabulary: dict[str, int] = json.loads((folder / "vocab.json").read_text())
        lines = (folder / "merges.txt").read_text().splitlines()[1:]
        self.merges: list[Pair] = [(left, right) for left, right in (line.split() for line in lines)]
        self.seen: dict[str, list[int]] = {}
        self.length: int = json.loads((folder / "tokenizer_config.json").read_text())["model_max_length"]

    def word_ids(self, word: str) -> list[int]:
        """The tokens of one word: all merges in the order in which they were learned."""
        if word not in self.seen:
            parts = letters(word)
            for pair in self.merges:
                parts = merge(parts, pair)
            self.seen[word] = [self.vocabulary[part] for part in parts]
        return self.seen[word]

    def __call__(self, prompt: str) -> list[int]:
        """Start, the words, end, and more ends as padding; a prompt that does not fit is refused."""
        start, end = self.vocabulary[START], self.vocabulary[END]
        ids = [token for word in words(prompt) for token in self.word_ids(word)]
        if len(ids) > self.length - 2:
            raise ValueError(f"the prompt has {len(ids)} tokens, at most {self.length - 2} are read")
        ids = [start, *ids, end]
        return ids + [end] * (self.length - len(ids))
