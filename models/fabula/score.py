"""Ask questions whose answers the grammar knows, and count how many `model.gguf` gets right.

Run from the `models` folder: `python -m fabula.score`. llama.cpp answers at temperature 0. The questions come from a
seed that training never uses, but from the same grammar: what is counted is how well the grammar was learned. A question
counts as right if the answer is the grammar's, word for word. A story counts as sound if it has the hero that was
asked for, and two names at most.
"""

import argparse
import random
import re
from collections.abc import Callable
from pathlib import Path

import gguf
import xllamacpp

from fabula import facts, words
from fabula.check import chat_text, llama_cpp
from fabula.stories import article, expand
from fabula.train import HELD_OUT_SEED

NAMES = set(words.FRIEND_NAMES)
# Each has one right answer.
MAKERS: tuple[tuple[str, Callable[[random.Random], facts.Pair]], ...] = (
    ("sums of numbers", facts.arithmetic), ("sums in words", facts.spoken_sum), ("sums as stories", facts.word_problem),
    ("order and size of numbers", facts.numbers), ("days and months", facts.calendar), ("animals", facts.nature),
    ("animals in the plural", facts.kinds), ("colours", facts.colour),
    ("opposites, sizes, places, capitals", facts.household), ("past tense", facts.tense), ("words to be said again", facts.echo),
)


def answer(server: xllamacpp.Server, reader: gguf.GGUFReader, ask: str, tokens_max: int) -> str:
    """The answer to one question, at temperature 0."""
    prompt = chat_text(reader, [{"role": "user", "content": ask}])
    told = server.handle_completions({"prompt": prompt, "n_predict": tokens_max, "temperature": 0.0, "top_k": 1})
    return told["choices"][0]["text"].strip()


def share_right(ask: Callable[[str], str], maker: Callable[[random.Random], facts.Pair], count: int) -> float:
    """How many of `count` questions of one sort are answered rightly."""
    rng = random.Random(HELD_OUT_SEED)
    pairs = [maker(rng) for _ in range(count)]
    return sum(ask(expand(rng, question, {})) == right for question, right in pairs) / count


def is_sound(kind: str, story: str) -> bool:
    """The hero is the one asked for, and nobody's name changes."""
    names = NAMES & set(re.findall(r"[A-Z][a-z]+", story))
    return re.search(rf"\b{re.escape(kind)}\b", story) is not None and len(names) <= 2


def share_sound(ask: Callable[[str], str], kinds: list[str]) -> float:
    """How many stories about these heroes are sound."""
    return sum(is_sound(kind, ask(f"Tell me a story about {article(kind)}.")) for kind in kinds) / len(kinds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path(__file__).parent / "model.gguf")
    parser.add_argument("--count", type=int, default=100, help="questions of each sort")
    options = parser.parse_args()
    reader, server = gguf.GGUFReader(options.model), llama_cpp(options.model)
    for name, maker in MAKERS:
        share = share_right(lambda ask: answer(server, reader, ask, 80), maker, options.count)
        print(f"| {name} | {share:.0%} |", flush=True)
    rng = random.Random(HELD_OUT_SEED)
    for name, kinds in (
        ("stories about an animal", rng.sample(words.ANIMALS, 40)),
        ("stories about somebody else", rng.sample([*words.PEOPLE, *words.WONDERS], 40)),
        ("stories about a word that does not exist", [facts.novel_word(rng) for _ in range(40)]),
    ):
        print(f"| {name} | {share_sound(lambda ask: answer(server, reader, ask, 400), kinds):.0%} |", flush=True)


if __name__ == "__main__":
    main()
