"""The network: a llama-shaped decoder in plain PyTorch.

RoPE turns neighbouring pairs (0, 1), (2, 3) and so on, which is the order that
GGUF's `llama` architecture expects; so the weights are exported as they are.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """Sizes of the network. Rows are multiples of 256, so that any GGUF block format fits."""

    vocabulary: int = 2048
    width: int = 256
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    hidden: int = 768
    context: int = 1024
    rope_base: float = 10_000.0
    norm_epsilon: float = 1e-5

    @property
    def head_width(self) -> int:
        return self.width // self.heads


def rope_table(shape: Shape, length: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines, [position, pair]."""
    pairs = torch.arange(0, shape.head_width, 2, dtype=torch.float32) / shape.head_width
    angles = torch.outer(torch.arange(length, dtype=torch.float32), shape.rope_base**-pairs)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turn each neighbouring pair of the last axis of [batch, head, position, width]."""
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = torch.stack((even * cosines - odd * sines, even * sines + odd * cosines), dim=-1)
    return turned.flatten(-2).type_as(x)


class Norm(nn.Module):
    """RMS norm in float32."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.epsilon)


class Block(nn.Module):
    """Grouped-query attention, then a gated feed-forward network."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        kv_width = shape.kv_heads * shape.head_width
        self.attn_norm = Norm(shape.width, shape.norm_epsilon)
        self.attn_q = nn.Linear(shape.width, shape.width, bias=False)
        self.attn_k = nn.Linear(shape.width, kv_width, bias=False)
        self.attn_v = nn.Linear(shape.width, kv_width, bias=False)
        self.attn_output = nn.Linear(shape.width, shape.width, bias=False)
        self.ffn_norm = Norm(shape.width, shape.norm_epsilon)
        self.ffn_gate = nn.Linear(shape.width, shape.hidden, bias=False)
        self.ffn_up = nn.Linear(shape.width, shape.hidden, bias=False)
        self.ffn_down = nn.Linear(shape.hidden, shape.width, bias=False)

    def attention(self, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        def heads(projected: Tensor) -> Tensor:
            return projected.view(*x.shape[:2], -1, self.shape.head_width).transpose(1, 2)

        query = rotate(heads(self.attn_q(x)), cosines, sines) * self.shape.head_width**-0.5
        key = rotate(heads(self.attn_k(x)), cosines, sines)
        value = heads(self.attn_v(x))
        group = self.shape.heads // self.shape.kv_heads
        key, value = key.repeat_interleave(group, dim=1), value.repeat_interleave(group, dim=1)
        # Written out: on the CPU in bfloat16 this is faster than the fused call.
        scores = query @ key.transpose(-1, -2)
        future = torch.full(scores.shape[-2:], -1e9, dtype=scores.dtype).triu(1)
        mixed = (scores + future).softmax(-1).type_as(value) @ value
        return self.attn_output(mixed.transpose(1, 2).flatten(2))

    def forward(self, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        x = x + self.attention(self.attn_norm(x), cosines, sines)
        inner = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(inner)) * self.ffn_up(inner))


class Model(nn.Module):
    """Token ids to logits; the output matrix is the embedding."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.width)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = Norm(shape.width, shape.norm_epsilon)
        self.apply(self._start)

    @staticmethod
    def _start(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)

    def states(self, tokens: Tensor) -> Tensor:
        """The last hidden state of each position of [batch, position]."""
        cosines, sines = rope_table(self.shape, tokens.shape[1])
        x = self.token_embd(tokens)
        for block in self.blk:
            x = block(x, cosines, sines)
        return self.output_norm(x)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.states(tokens) @ self.token_embd.weight.T
