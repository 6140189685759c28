"""The networks, in PyTorch, divided as in Stable Diffusion: autoencoder, text encoder, UNet.

Every size but the batch's is made a plain number (`int(...)`), so that the
traced graphs hold no arithmetic on shapes.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LATENT_CHANNELS = 8
TEXT_WIDTH = 96
SCALING = 0.18215


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(8, channels, eps=1e-5)


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)


class Residual(nn.Module):
    """GroupNorm, SiLU, convolution, twice, around a shortcut; the time, if any, is added between."""

    def __init__(self, inputs: int, outputs: int, time_width: int = 0) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(inputs), conv(inputs, outputs)
        self.norm2, self.conv2 = norm(outputs), conv(outputs, outputs)
        self.time = nn.Linear(time_width, outputs) if time_width else None
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        if self.time is not None:
            h = h + self.time(time)[:, :, None, None]
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class Upsample(nn.Module):
    """Nearest neighbour, then a convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = conv(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Encoder(nn.Module):
    """Pictures [n, 3, 32, 32] in [-1, 1] to the mean and log variance of latents [n, 8, 8, 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 48, 4, stride=2, padding=1), Residual(48, 48), conv(48, 96, stride=2), Residual(96, 96),
            norm(96), nn.SiLU(), conv(96, 2 * LATENT_CHANNELS),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.layers(x).chunk(2, dim=1)
        return mean, log_variance.clamp(-20, 4)


class Decoder(nn.Module):
    """Latents to pictures. `post_quant` undoes the scaling that the UNet's latents have."""

    def __init__(self) -> None:
        super().__init__()
        self.post_quant = nn.Conv2d(LATENT_CHANNELS, LATENT_CHANNELS, 1)
        self.layers = nn.Sequential(
            conv(LATENT_CHANNELS, 80), Residual(80, 80), Upsample(80, 48), Residual(48, 48), Upsample(48, 24),
            norm(24), nn.SiLU(), conv(24, 24), norm(24), nn.SiLU(), conv(24, 3),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(self.post_quant(z))

    def fold_scaling(self, mean: Tensor, deviation: Tensor) -> None:
        """Accept latents of zero mean and unit deviation, divided by Stable Diffusion's scaling factor."""
        with torch.no_grad():
            self.post_quant.weight.copy_(torch.diag(deviation * SCALING)[:, :, None, None])
            self.post_quant.bias.copy_(mean)


class Attention(nn.Module):
    """Multi-head attention from `x` to `context`, both [n, length, width]."""

    def __init__(self, width: int, context_width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(context_width, width, bias=False)
        self.value = nn.Linear(context_width, width, bias=False)
        self.out = nn.Linear(width, width)

    def split(self, x: Tensor) -> Tensor:
        length, width = int(x.shape[1]), int(x.shape[2])
        return x.reshape(-1, length, self.heads, width // self.heads).transpose(1, 2)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        query, key, value = self.split(self.query(x)), self.split(self.key(context)), self.split(self.value(context))
        scores = query @ key.transpose(2, 3) / math.sqrt(int(query.shape[3]))
        mixed = scores.softmax(dim=3) @ value
        return self.out(mixed.transpose(1, 2).reshape(-1, int(x.shape[1]), int(x.shape[2])))


class Block(nn.Module):
    """A transformer block: attention to itself, to a context, or to both, and a small network."""

    def __init__(self, width: int, context_width: int = 0, looks_inside: bool = True) -> None:
        super().__init__()
        self.looks_inside, self.looks_outside = looks_inside, context_width > 0
        if looks_inside:
            self.norm1, self.self_attention = nn.LayerNorm(width), Attention(width, width)
        if self.looks_outside:
            self.norm2, self.cross_attention = nn.LayerNorm(width), Attention(width, context_width)
        self.norm3 = nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if self.looks_inside:
            h = self.norm1(x)
            x = x + self.self_attention(h, h)
        if self.looks_outside:
            x = x + self.cross_attention(self.norm2(x), context)
        return x + self.feed(self.norm3(x))


class TextEncoder(nn.Module):
    """Token ids [n, length] to states [n, length, 96]; every token sees every other."""

    def __init__(self, vocabulary: int, length: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, TEXT_WIDTH)
        self.positions = nn.Parameter(torch.randn(length, TEXT_WIDTH) * 0.1)
        self.blocks = nn.ModuleList([Block(TEXT_WIDTH), Block(TEXT_WIDTH)])
        self.norm = nn.LayerNorm(TEXT_WIDTH)
        nn.init.normal_(self.tokens.weight, std=0.3)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.tokens(input_ids) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class SpatialBlock(nn.Module):
    """A transformer block over the cells of a feature map."""

    def __init__(self, channels: int, looks_inside: bool) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.block = Block(channels, TEXT_WIDTH, looks_inside)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        channels, rows, columns = (int(size) for size in x.shape[1:])
        cells = self.norm(x).reshape(-1, channels, rows * columns).transpose(1, 2)
        return x + self.block(cells, context).transpose(1, 2).reshape(-1, channels, rows, columns)


class UNet(nn.Module):
    """Predicts the velocity of noisy latents at a time, told by a text.

    Two levels, 8x8 and 4x4. Cells look at the text on both levels, at each
    other only on the lower one, where that is cheap. `place` tells each cell
    where it is: without it a cell in the middle could not tell left from right.
    """

    def __init__(self, wide: int = 80, deep: int = 104, time_width: int = 160) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(64, time_width), nn.SiLU(), nn.Linear(time_width, time_width), nn.SiLU())
        self.enter = conv(LATENT_CHANNELS, wide)
        self.place = nn.Parameter(torch.randn(1, wide, 8, 8) * 0.1)
        self.down, self.read_down = Residual(wide, wide, time_width), SpatialBlock(wide, looks_inside=False)
        self.shrink = conv(wide, deep, stride=2)
        self.middle1, self.read1 = Residual(deep, deep, time_width), SpatialBlock(deep, looks_inside=True)
        self.middle2, self.read2 = Residual(deep, deep, time_width), SpatialBlock(deep, looks_inside=True)
        self.middle3 = Residual(deep, deep, time_width)
        self.grow = Upsample(deep, wide)
        self.up, self.read_up = Residual(2 * wide, wide, time_width), SpatialBlock(wide, looks_inside=False)
        self.norm, self.leave = norm(wide), conv(wide, LATENT_CHANNELS)
        frequencies = torch.exp(-math.log(10000.0) * torch.arange(32) / 32)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        text = encoder_hidden_states
        angles = timestep.to(torch.float32)[:, None] * self.frequencies
        time = self.time(torch.cat([angles.cos(), angles.sin()], dim=1))
        top = self.read_down(self.down(self.enter(sample) + self.place, time), text)
        x = self.read1(self.middle1(self.shrink(top), time), text)
        x = self.read2(self.middle2(x, time), text)
        x = self.grow(self.middle3(x, time))
        x = self.read_up(self.up(torch.cat([x, top], dim=1), time), text)
        return self.leave(F.silu(self.norm(x)))
