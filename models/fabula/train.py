"""Train Fabula on its own grammar, on the CPU: tokenizer, then network, then a checkpoint.

Run from the `models` folder: `python -m fabula.train --tokens 16000000 --workers 2`.

The text is endless and made as it is needed, so no sentence is seen in epochs. Only what
the assistant says counts as loss: a person's questions are not for the model to foretell.
Sums of floats depend on the number of workers and on the processor, so two machines train
two slightly different models; `export.py` makes the same file from the same checkpoint.
"""

import argparse
import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

from fabula import text
from fabula.model import Model, Shape

SPECIALS = ["<|start|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
START, END, SYSTEM, USER, ASSISTANT = range(5)
TOKENIZER_TEXTS = 6000
STEP_TOKENS = 4096
PEAK_RATE = 4e-3
WARMUP_STEPS = 60
HELD_OUT_SEED = 987_654_321
IGNORED = -100
# Rows grow during training: short rows are cheap, and long chats are learned last.
STAGES = ((0.60, 256), (0.88, 512), (1.01, 1024))


def train_tokenizer(seed: int, path: Path) -> Tokenizer:
    """Byte-level BPE with GPT-2's splitting; llama.cpp calls it `gpt-2`."""
    rng = random.Random(seed)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=Shape().vocabulary, special_tokens=SPECIALS, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    plain = (line for _ in range(TOKENIZER_TEXTS) for turn in text.conversation(rng)[1] for line in turn)
    tokenizer.train_from_iterator(plain, trainer)
    tokenizer.save(str(path))
    return tokenizer


def encode(tokenizer: Tokenizer, rng: random.Random) -> tuple[list[int], list[int]]:
    """One conversation as tokens, and beside each the same token if the assistant says it."""
    system, turns = text.conversation(rng)
    newline = tokenizer.encode("\n").ids
    tokens: list[int] = [START] if rng.random() < 0.6 else []
    said = [IGNORED] * len(tokens)

    def add(role: int, content: str) -> None:
        ids = tokenizer.encode(content).ids + [END]
        head = [role, *newline]
        tokens.extend(head + ids + newline)
        said.extend([IGNORED] * len(head) + (ids if role == ASSISTANT else [IGNORED] * len(ids)) + [IGNORED] * len(newline))

    if system:
        add(SYSTEM, system)
    for ask, answer in turns:
        add(USER, ask)
        add(ASSISTANT, answer)
    return tokens, said


def rows(tokenizer: Tokenizer, rng: random.Random, length: int) -> tuple[list[int], list[int]]:
    """One row of `length + 1`: whole conversations until it is full, the last one cut."""
    tokens: list[int] = []
    said: list[int] = []
    while len(tokens) <= length:
        more, more_said = encode(tokenizer, rng)
        tokens += more
        said += more_said
    return tokens[: length + 1], said[: length + 1]


def batch(tokenizer: Tokenizer, rng: random.Random, length: int, tokens: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets, [row, position]."""
    pairs = [rows(tokenizer, rng, length) for _ in range(max(1, tokens // length))]
    inputs = torch.tensor([row[:-1] for row, _ in pairs])
    return inputs, torch.tensor([said[1:] for _, said in pairs])


def loss_of(model: Model, inputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over what the assistant says; other positions get no logits at all."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        counted = targets != IGNORED
        logits = model.states(inputs)[counted] @ model.token_embd.weight.T
    return F.cross_entropy(logits.float(), targets[counted])


def optimizers(model: Model) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for the embedding and the norms."""
    matrices = [p for p in model.blk.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim != 2 or p is model.token_embd.weight]
    return [
        torch.optim.Muon(matrices, lr=PEAK_RATE, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def average(model: Model, workers: int) -> None:
    """Make the gradients of all workers one."""
    if workers == 1:
        return
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([grad.flatten() for grad in grads])
    dist.all_reduce(flat)
    flat /= workers
    for grad, part in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
        grad.copy_(part.view_as(grad))


def held_out_loss(model: Model, tokenizer: Tokenizer, count: int = 64) -> float:
    """Loss on conversations of a seed that training never uses."""
    rng = random.Random(HELD_OUT_SEED)
    with torch.no_grad():
        losses = [loss_of(model, *batch(tokenizer, rng, 512, 4096)).item() for _ in range(count // 8)]
    return sum(losses) / len(losses)


class Progress:
    """How far training is, from 0 to 1, by tokens or by minutes, whichever comes first."""

    def __init__(self, tokens_max: int, minutes_max: float, tokens: int = 0) -> None:
        self.tokens, self.tokens_max, self.minutes_max = tokens, tokens_max, minutes_max
        self.started = time.monotonic()
        self.share = tokens / tokens_max

    def add(self, tokens: int, workers: int) -> None:
        """Count a step; rank 0's clock decides, so that all workers stop together."""
        self.tokens += tokens
        minutes = (time.monotonic() - self.started) / 60
        share = torch.tensor([max(self.tokens / self.tokens_max, minutes / self.minutes_max if self.minutes_max else 0.0)])
        if workers > 1:
            dist.broadcast(share, 0)
        self.share = share.item()


def save(path: Path, model: Model, optims: list[torch.optim.Optimizer], progress: Progress, step: int) -> None:
    """A checkpoint that training can go on from; written whole or not at all."""
    state = {"model": model.state_dict(), "optims": [o.state_dict() for o in optims], "tokens": progress.tokens, "step": step}
    torch.save(state, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)


def steps(model: Model, tokenizer: Tokenizer, optims: list[torch.optim.Optimizer], rng: random.Random,
          progress: Progress, first: int, workers: int) -> Iterator[tuple[int, float, int]]:
    """Take steps until the budget is used up; yields step, loss and row length."""
    step = first
    while progress.share < 1.0:
        length = next(length for until, length in STAGES if progress.share < until)
        rate = PEAK_RATE * min(1.0, (step + 1) / WARMUP_STEPS) * min(1.0, 1.15 * (1.0 - progress.share))
        for optim in optims:
            optim.param_groups[0]["lr"] = rate
        loss = loss_of(model, *batch(tokenizer, rng, length, STEP_TOKENS // workers))
        loss.backward()
        average(model, workers)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optim in optims:
            optim.step()
            optim.zero_grad()
        progress.add(STEP_TOKENS, workers)
        step += 1
        yield step, loss.item(), length


def work(rank: int, options: argparse.Namespace) -> None:
    """One worker: its own text, the same network."""
    torch.set_num_threads(1)
    if options.workers > 1:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517"}
        dist.init_process_group("gloo", rank=rank, world_size=options.workers)
    torch.manual_seed(options.seed)
    tokenizer = Tokenizer.from_file(str(options.folder / "tokenizer.json"))
    model = Model(Shape())
    optims = optimizers(model)
    checkpoint, step, tokens = options.folder / "checkpoint.pt", 0, 0
    if options.resume and checkpoint.exists():
        state = torch.load(checkpoint)
        model.load_state_dict(state["model"])
        for optim, saved in zip(optims, state["optims"], strict=True):
            optim.load_state_dict(saved)
        step, tokens = state["step"], state["tokens"]
    rng = random.Random(f"{options.seed} {rank} {step}")
    progress = Progress(options.tokens, options.minutes, tokens)
    for step, loss, length in steps(model, tokenizer, optims, rng, progress, step, options.workers):
        if rank == 0 and step % 20 == 0:
            minutes = (time.monotonic() - progress.started) / 60
            print(f"step {step} rows {length} tokens {progress.tokens} loss {loss:.4f} share {progress.share:.3f} minutes {minutes:.1f}", flush=True)
        if rank == 0 and step % 50 == 0:
            save(checkpoint, model, optims, progress, step)
    if rank == 0:
        save(checkpoint, model, optims, progress, step)
        loss = held_out_loss(model, tokenizer)
        print(json.dumps({"held_out_loss": loss, "held_out_perplexity": 2.718281828**loss, "tokens": progress.tokens}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=16_000_000, help="training budget, tokens")
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after so many minutes (0: tokens alone decide)")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("work"), help="where tokenizer and checkpoint go")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if not options.resume:
        train_tokenizer(options.seed, options.folder / "tokenizer.json")
    if options.workers == 1:
        work(0, options)
    else:
        mp.spawn(work, (options,), options.workers)


if __name__ == "__main__":
    main()
