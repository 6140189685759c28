"""Small networks for sequences, ids and graphs, in the shapes that people export. `nets.py` lists them."""

import math

import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Attention written out, as most libraries do it: scores, an additive mask, softmax."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.merge = (nn.Linear(width, width) for _ in range(4))

    def split(self, x):
        return x.view(x.size(0), x.size(1), self.heads, -1).permute(0, 2, 1, 3)

    def forward(self, x, mask):
        query, key, value = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.size(-1)) + mask
        mixed = (F.softmax(scores, dim=-1) @ value).permute(0, 2, 1, 3).contiguous()
        return self.merge(mixed.view(x.size(0), x.size(1), -1))


class Layer(nn.Module):
    def __init__(self, width, heads, wide):
        super().__init__()
        self.attention, self.norm_first, self.norm_second = (
            Attention(width, heads),
            nn.LayerNorm(width),
            nn.LayerNorm(width),
        )
        self.wide, self.narrow = nn.Linear(width, wide), nn.Linear(wide, width)

    def forward(self, x, mask):
        x = self.norm_first(x + self.attention(x, mask))
        return self.norm_second(x + self.narrow(F.gelu(self.wide(x))))


class Bert(nn.Module):
    """Two layers of 32, any batch and length, an attention mask, token types, a pooler."""

    def __init__(self):
        super().__init__()
        self.words, self.places, self.types = nn.Embedding(40, 32), nn.Embedding(16, 32), nn.Embedding(2, 32)
        self.norm, self.pooler = nn.LayerNorm(32, eps=1e-12), nn.Linear(32, 32)
        self.layers = nn.ModuleList([Layer(32, 4, 32) for _ in range(2)])

    def forward(self, input_ids, attention_mask, token_type_ids):
        places = torch.arange(input_ids.size(1), device=input_ids.device).unsqueeze(0)
        x = self.norm(self.words(input_ids) + self.types(token_type_ids) + self.places(places))
        mask = (1.0 - attention_mask[:, None, None, :].to(x.dtype)) * torch.finfo(x.dtype).min
        for layer in self.layers:
            x = layer(x, mask)
        return x, torch.tanh(self.pooler(x[:, 0]))


class Sentence(nn.Module):
    """A sentence's vector: the mean over the words that are there, of length one."""

    def __init__(self):
        super().__init__()
        self.words, self.layer = nn.Embedding(40, 32), Layer(32, 2, 32)

    def forward(self, input_ids, attention_mask):
        mask = attention_mask.unsqueeze(-1).float()
        x = self.layer(self.words(input_ids), (1.0 - attention_mask[:, None, None].float()) * -10000.0)
        mean = (x * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-9)
        return F.normalize(mean, p=2, dim=1)


class Gpt(nn.Module):
    """A decoder with a causal mask; the last product takes the table of words again."""

    def __init__(self):
        super().__init__()
        self.words, self.places, self.norm = nn.Embedding(40, 32), nn.Embedding(16, 32), nn.LayerNorm(32)
        self.norms = nn.ModuleList([nn.LayerNorm(32) for _ in range(2)])
        self.qkv, self.merge, self.wide, self.narrow = (
            nn.Linear(32, 96),
            nn.Linear(32, 32),
            nn.Linear(32, 48),
            nn.Linear(48, 32),
        )
        self.register_buffer("past", torch.tril(torch.ones(16, 16)).view(1, 1, 16, 16))

    def forward(self, input_ids):
        batch, length = input_ids.shape
        x = self.words(input_ids) + self.places(torch.arange(length, device=input_ids.device))
        query, key, value = self.qkv(self.norms[0](x)).split(32, dim=2)
        query, key, value = (part.view(batch, length, 4, 8).transpose(1, 2) for part in (query, key, value))
        scores = (query @ key.transpose(-2, -1)) * (1.0 / math.sqrt(8))
        scores = scores.masked_fill(self.past[:, :, :length, :length] == 0, float("-inf"))
        mixed = (F.softmax(scores, dim=-1) @ value).transpose(1, 2).contiguous().view(batch, length, 32)
        x = x + self.merge(mixed)
        wide = self.wide(self.norms[1](x))
        inner = math.sqrt(2.0 / math.pi) * (wide + 0.044715 * torch.pow(wide, 3.0))
        wide = 0.5 * wide * (1.0 + torch.tanh(inner))
        return self.norm(x + self.narrow(wide)) @ self.words.weight.t()


class Llama(nn.Module):
    """Root-mean-square norm, rotary places, grouped queries, a gated layer; earlier keys come in."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(40, 32)
        self.scales = nn.Parameter(1.0 + 0.1 * torch.randn(3, 32))
        self.query, self.key, self.value, self.merge = (
            nn.Linear(32, n, bias=False) for n in (32, 16, 16, 32)
        )
        self.gate, self.wide, self.narrow = (
            nn.Linear(a, b, bias=False) for a, b in ((32, 40), (32, 40), (40, 32))
        )
        self.head = nn.Linear(32, 40, bias=False)
        self.register_buffer("rates", 10000.0 ** (-torch.arange(0, 8, 2).float() / 8))

    def norm(self, x, index):
        return self.scales[index] * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))

    def turn(self, x, places):
        angles = places[:, :, None].float() * self.rates
        angles = torch.cat([angles, angles], dim=-1).unsqueeze(1)
        half = x.shape[-1] // 2
        turned = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
        return x * angles.cos() + turned * angles.sin()

    def forward(self, input_ids, position_ids, past_key, past_value):
        x = self.words(input_ids)
        normed = self.norm(x, 0)
        batch, length = input_ids.shape
        query, key, value = (
            p(normed).view(batch, length, -1, 8).transpose(1, 2) for p in (self.query, self.key, self.value)
        )
        query, key = self.turn(query, position_ids), self.turn(key, position_ids)
        key, value = torch.cat([past_key, key], dim=2), torch.cat([past_value, value], dim=2)
        every = torch.arange(key.shape[2], device=x.device)
        mask = torch.where(
            every[None, None, None, :] <= position_ids[:, None, :, None], 0.0, torch.finfo(x.dtype).min
        )
        wide_key, wide_value = key.repeat_interleave(2, dim=1), value.repeat_interleave(2, dim=1)
        mixed = F.scaled_dot_product_attention(query, wide_key, wide_value, attn_mask=mask)
        x = x + self.merge(mixed.transpose(1, 2).reshape(batch, length, 32))
        normed = self.norm(x, 1)
        x = x + self.narrow(F.silu(self.gate(normed)) * self.wide(normed))
        return self.head(self.norm(x, 2)), key, value


class Recurrent(nn.Module):
    """Ids of any length through a recurrent layer; the answer is taken from the last step."""

    def __init__(self, kind, **options):
        super().__init__()
        self.words = nn.Embedding(40, 12)
        self.layer = kind(12, 12, batch_first=True, **options)
        self.head = nn.Linear(12 * (2 if options.get("bidirectional") else 1), 3)

    def forward(self, input_ids):
        steps, last = self.layer(self.words(input_ids))
        return self.head(steps[:, -1]), (last[0] if isinstance(last, tuple) else last)


class EinsumAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.merge = (
            nn.Parameter(torch.randn(3, 16, 8) * 0.2) for _ in range(4)
        )

    def forward(self, x):
        query, key, value = (torch.einsum("btd,hdk->bhtk", x, w) for w in (self.query, self.key, self.value))
        weights = torch.einsum("bhtk,bhsk->bhts", query, key).mul(8**-0.5).softmax(dim=-1)
        return torch.einsum("bhts,bhsk,hdk->btd", weights, value, self.merge)


class Bags(nn.Module):
    """Ids of two kinds, looked up, one of them averaged; then products of pairs, as recommenders have it."""

    def __init__(self):
        super().__init__()
        self.user, self.items = nn.Embedding(50, 8), nn.Embedding(80, 8, padding_idx=0)
        self.deep = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, user, items, numbers):
        one, many = self.user(user), self.items(items)
        there = (items != 0).unsqueeze(-1).to(many.dtype)
        bag = (many * there).sum(dim=1) / torch.maximum(there.sum(dim=1), torch.ones(1))
        pair = 0.5 * ((one + bag).pow(2) - one.pow(2) - bag.pow(2)).sum(dim=1, keepdim=True)
        return torch.sigmoid(pair + self.deep(torch.cat([one, bag, numbers], dim=1))).squeeze(1)


class MultiHead(nn.Module):
    """The module of the library, with a mask of what is padding."""

    def __init__(self):
        super().__init__()
        self.attention, self.norm = nn.MultiheadAttention(16, 4, batch_first=True), nn.LayerNorm(16)

    def forward(self, x, padding):
        mixed, weights = self.attention(x, x, x, key_padding_mask=padding)
        return self.norm(x + mixed), weights


class Encoder(nn.Module):
    """The encoder of the library, in its own order of norms."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, activation="gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x):
        return self.layers(x).amax(dim=1)


class Graph(nn.Module):
    """Messages along the edges (`[from, to]`) of a graph of any size, averaged where they arrive."""

    def __init__(self):
        super().__init__()
        self.message, self.update = nn.Linear(8, 8), nn.Linear(16, 8)

    def forward(self, nodes, edges):
        sent = F.relu(self.message(nodes))[edges[0]]
        target = edges[1].unsqueeze(1).expand(-1, 8)
        got = torch.zeros_like(nodes).scatter_add(0, target, sent)
        count = torch.zeros_like(nodes).scatter_add(0, target, torch.ones_like(sent))
        return torch.tanh(self.update(torch.cat([nodes, got / count.clamp(min=1.0)], dim=1)))


class Forecast(nn.Module):
    """A series: differences, running sums, a causal convolution, comparisons and remainders of the day."""

    def __init__(self):
        super().__init__()
        self.conv, self.days, self.head = nn.Conv1d(2, 8, 3), nn.Embedding(7, 8), nn.Linear(8, 3)

    def forward(self, series, day):
        level = series.mean(dim=1, keepdim=True)
        deviation = series.var(dim=1, keepdim=True, unbiased=False).add(1e-5).sqrt()
        x = (series - level) / deviation
        rise = F.pad(x[:, 1:] - x[:, :-1], (1, 0))
        both = torch.stack([x.cumsum(dim=1), rise.abs().sign() * rise.square()], dim=1)
        x = F.relu(self.conv(F.pad(both, (2, 0))))
        x = x + self.days(torch.remainder(day, 7)).unsqueeze(2)
        answer = self.head(x[:, :, -1]) * deviation + level
        return answer, (answer > level) & ~torch.isnan(answer), answer.round().argmin(dim=1)
