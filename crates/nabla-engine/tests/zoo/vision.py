"""Small networks for images, sounds and rows, in the shapes that people export. `nets.py` lists them."""

import torch
from torch import nn
from torch.nn import functional as F


class Mlp(nn.Module):
    """A classifier of rows: batch norm, dropout, ReLU and tanh."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(16, 32),
            nn.BatchNorm1d(32),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Linear(32, 24),
            nn.Tanh(),
            nn.Linear(24, 4),
        )

    def forward(self, x):
        return torch.softmax(self.body(x), dim=-1)


class Residual(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm_first = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm_second = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if stride > 1 else nn.Identity()

    def forward(self, x):
        y = F.relu(self.norm_first(self.first(x)))
        return F.relu(self.norm_second(self.second(y)) + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 6, 7, 2, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        self.body = nn.Sequential(Residual(6, 6, 1), Residual(6, 8, 2))
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        return self.head(torch.flatten(F.adaptive_avg_pool2d(self.body(self.stem(x)), 1), 1))


class SqueezeExcite(nn.Module):
    def __init__(self, channels, gate=nn.Hardsigmoid):
        super().__init__()
        self.shrink, self.grow = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)
        self.gate = gate()

    def forward(self, x):
        return x * self.gate(self.grow(F.relu(self.shrink(F.adaptive_avg_pool2d(x, 1)))))


class MobileNet(nn.Module):
    """Inverted residuals: 1x1 up, depthwise, squeeze and excite, 1x1 down, hard swish."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish())
        self.blocks = nn.ModuleList([self.block(8, 16, 5, nn.Hardswish), self.block(8, 16, 3, nn.ReLU6)])
        self.head = nn.Sequential(nn.Linear(8, 16), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(16, 6))

    @staticmethod
    def block(channels, wide, kernel, activation):
        return nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            activation(),
            nn.Conv2d(wide, wide, kernel, 1, kernel // 2, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            activation(),
            SqueezeExcite(wide),
            nn.Conv2d(wide, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x.mean([2, 3]))


class SqueezeNetGate(nn.Module):
    """Squeeze and excite as first published: two linear layers and a sigmoid; then a max over the plane."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1)
        self.gate = nn.Sequential(nn.Linear(12, 3), nn.ReLU(), nn.Linear(3, 12), nn.Sigmoid())

    def forward(self, x):
        x = F.elu(self.conv(x))
        x = x * self.gate(x.mean(dim=(2, 3))).view(-1, 12, 1, 1)
        return F.adaptive_max_pool2d(x, 1).flatten(1)


class Decoder(nn.Module):
    """An image from a latent row, by transposed convolutions."""

    def __init__(self):
        super().__init__()
        self.start = nn.Linear(8, 8 * 3 * 3)
        self.body = nn.Sequential(
            nn.ConvTranspose2d(8, 8, 4, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.LeakyReLU(0.2),
            nn.ConvTranspose2d(8, 8, 3, 2, 1, output_padding=1, groups=4),
            nn.ReLU(),
            nn.ConvTranspose2d(8, 3, 3, 1, 2, dilation=2),
            nn.Tanh(),
        )

    def forward(self, z):
        return self.body(self.start(z).view(-1, 8, 3, 3))


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 6, 3, 2, 1), nn.PReLU(6), nn.Conv2d(6, 8, 3, 2, 1), nn.PReLU(), nn.Flatten()
        )
        self.narrow = nn.Linear(8 * 4 * 4, 6)
        self.decoder = nn.Sequential(
            nn.Linear(6, 8 * 4 * 4),
            nn.Unflatten(1, (8, 4, 4)),
            nn.ConvTranspose2d(8, 6, 2, 2),
            nn.Softplus(),
            nn.ConvTranspose2d(6, 1, 2, 2),
            nn.Sigmoid(),
        )

    def forward(self, x):
        code = self.narrow(self.encoder(x))
        return self.decoder(code), code


class UNet(nn.Module):
    """As in diffusion: a time step, group norm, SiLU, a skip, cross attention to a context of any length."""

    def __init__(self):
        super().__init__()
        self.time = nn.Sequential(nn.Linear(8, 12), nn.SiLU(), nn.Linear(12, 12))
        self.enter, self.down = nn.Conv2d(4, 12, 3, padding=1), nn.Conv2d(12, 12, 3, 2, 1)
        self.norms = nn.ModuleList([nn.GroupNorm(4, 12) for _ in range(3)])
        self.middle = nn.Conv2d(12, 12, 3, padding=1)
        self.query, self.key, self.value, self.merge = (
            nn.Linear(n, 12, bias=False) for n in (12, 10, 10, 12)
        )
        self.up, self.leave = nn.Conv2d(24, 12, 3, padding=1), nn.Conv2d(12, 4, 3, padding=1)

    def heads(self, x):
        return x.view(x.shape[0], -1, 2, 6).transpose(1, 2)

    def forward(self, latent, step, context):
        angles = step[:, None].float() * torch.exp(-torch.arange(4, device=step.device) * 1.5)
        time = self.time(torch.cat([torch.sin(angles), torch.cos(angles)], dim=-1))
        skip = self.enter(latent)
        x = self.down(F.silu(self.norms[0](skip))) + time[:, :, None, None]
        x = self.middle(F.silu(self.norms[1](x)))
        flat = x.flatten(2).transpose(1, 2)
        query, key, value = (
            self.heads(self.query(flat)),
            self.heads(self.key(context)),
            self.heads(self.value(context)),
        )
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(flat.shape)
        x = x + self.merge(mixed).transpose(1, 2).reshape(x.shape)
        x = torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), skip], dim=1)
        return self.leave(F.silu(self.norms[2](self.up(x))))


class SuperResolution(nn.Module):
    """Reflected borders, instance norm, pixel shuffle, and a bilinear shortcut."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 5), nn.InstanceNorm2d(8, affine=True)
        self.second = nn.Conv2d(8, 12, 3, padding=1)

    def forward(self, x):
        y = F.leaky_relu(self.norm(self.first(F.pad(x, (2, 2, 2, 2), mode="reflect"))), 0.1)
        y = F.pixel_shuffle(self.second(y), 2)
        return (y + F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)).clamp(-1.0, 1.0)


class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 4, 4)
        self.norms = nn.ModuleList([nn.LayerNorm(16) for _ in range(3)])
        self.tokens = nn.Sequential(nn.Linear(9, 18), nn.GELU(), nn.Linear(18, 9))
        self.channels = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(self.norms[0](x).transpose(1, 2)).transpose(1, 2)
        x = x + self.channels(self.norms[1](x))
        return self.head(self.norms[2](x).mean(dim=1))


class Vit(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 4, 4)
        self.first = nn.Parameter(torch.randn(1, 1, 16) * 0.1)
        self.places = nn.Parameter(torch.randn(1, 10, 16) * 0.1)
        self.norms = nn.ModuleList([nn.LayerNorm(16, eps=1e-6) for _ in range(3)])
        self.qkv, self.merge = nn.Linear(16, 48), nn.Linear(16, 16)
        self.wide, self.narrow, self.head = nn.Linear(16, 32), nn.Linear(32, 16), nn.Linear(16, 5)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(x.shape[0], -1, -1), x], dim=1) + self.places
        batch, length, width = x.shape
        query, key, value = (
            self.qkv(self.norms[0](x)).reshape(batch, length, 3, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)
        )
        scores = (query * 8**-0.5) @ key.transpose(-2, -1)
        x = x + self.merge((scores.softmax(dim=-1) @ value).transpose(1, 2).reshape(batch, length, width))
        x = x + self.narrow(F.gelu(self.wide(self.norms[1](x)), approximate="tanh"))
        return self.head(self.norms[2](x)[:, 0])


class Audio(nn.Module):
    """Dilated 1-d convolutions with a gate, then mean and deviation over a clip of any length."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv1d(1, 16, 9, 4, 4)
        self.gates = nn.ModuleList([nn.Conv1d(16, 32, 3, padding=2**n, dilation=2**n) for n in range(1, 3)])
        self.norm, self.head = nn.BatchNorm1d(16), nn.Linear(32, 5)

    def forward(self, sound):
        x = F.relu(self.stem(sound))
        for gate in self.gates:
            x = x + F.glu(gate(x), dim=1)
        x = F.avg_pool1d(self.norm(x), 2, ceil_mode=False)
        return F.log_softmax(self.head(torch.cat([x.mean(dim=2), x.std(dim=2)], dim=1)), dim=1)


class Detector(nn.Module):
    """A head that picks: scores, the best places, and their boxes."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Mish())
        self.scores, self.boxes = nn.Conv2d(8, 3, 1), nn.Conv2d(8, 4, 1)

    def forward(self, image):
        x = self.body(image)
        scores, labels = torch.sigmoid(self.scores(x)).flatten(2).max(dim=1)
        best, place = torch.topk(scores, 5, dim=1)
        boxes = F.softplus(self.boxes(x).flatten(2).transpose(1, 2))
        boxes = torch.gather(boxes, 1, place.unsqueeze(-1).expand(-1, -1, 4))
        low, size = boxes.split(2, dim=-1)
        kept = torch.where(best > 0.5, torch.gather(labels, 1, place), torch.full_like(place, -1))
        return torch.cat([low, low + size], dim=-1), best, kept
