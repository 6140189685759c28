"""Train the painter: autoencoder, then decoder alone, then text encoder and UNet on the latents.

Run from the `models` folder: `OMP_NUM_THREADS=1 python -m painter.train`.

The state is kept in `WORK` after each stage and every 200 steps, so that a run
which was cut off goes on where it stopped. `painter.export` writes the folder
of ONNX files from it.
"""

import argparse
import math
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from painter import tokenizer
from painter.networks import SCALING, Decoder, Encoder, TextEncoder, UNet
from painter.scenes import gallery

SEED = 0
PICTURES = 120_000
VAE_STEPS, VAE_BATCH, VAE_RATE, KL_WEIGHT = 1000, 64, 2e-3, 1e-3
SHARP_STEPS, SHARP_RATE, SHARP_NOISE = 1200, 1e-3, 0.1
STEPS, BATCH, RATE = 5600, 64, 1.2e-3
WARM_UP, EMA, UNTOLD = 200, 0.999, 0.1
TRAIN_TIMESTEPS, BETA_START, BETA_END = 1000, 1e-4, 0.02
WORK = Path(".painter")
HERE = Path(__file__).parent


def rate_at(step: int, steps: int, peak: float) -> float:
    """A linear warm-up, then half a cosine down to nearly nothing."""
    return peak * min(1.0, (step + 1) / WARM_UP) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def advance(optimizer: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
    """One step of the optimizer, with the gradient's length cut to 1."""
    optimizer.zero_grad()
    loss.backward()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    nn.utils.clip_grad_norm_(parameters, 1.0)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()


def as_input(pixels: Tensor) -> Tensor:
    """uint8 [n, 32, 32, 3] to float [n, 3, 32, 32] in [-1, 1]."""
    return (pixels.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def train_autoencoder(pixels: Tensor) -> tuple[Encoder, Decoder]:
    """Mean absolute and squared error, and a small KL term that keeps the latents smooth."""
    torch.manual_seed(SEED)
    encoder, decoder = (part.to(memory_format=torch.channels_last) for part in (Encoder(), Decoder()))
    decoder.post_quant.requires_grad_(False)
    nn.init.dirac_(decoder.post_quant.weight)
    nn.init.zeros_(decoder.post_quant.bias)
    parameters = [p for part in (encoder, decoder) for p in part.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.99), weight_decay=0.01)
    for step in range(VAE_STEPS):
        x = as_input(pixels[torch.randint(len(pixels), (VAE_BATCH,))])
        with torch.autocast("cpu", torch.bfloat16):
            mean, log_variance = (part.float() for part in encoder(x))
            z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
            y = decoder(z).float()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        error = (y - x).abs().mean() + (y - x).square().mean()
        advance(optimizer, error + KL_WEIGHT * kl, rate_at(step, VAE_STEPS, VAE_RATE))
        if step % 100 == 0:
            print(f"autoencoder {step}: error {error:.4f} kl {kl:.3f}", flush=True)
    return encoder, decoder


@torch.no_grad()
def latents_of(encoder: Encoder, decoder: Decoder, pixels: Tensor) -> Tensor:
    """The latents of all pictures, brought to zero mean and unit deviation; the decoder learns to undo it."""
    parts = []
    for chunk in pixels.split(500):
        with torch.autocast("cpu", torch.bfloat16):
            parts.append(encoder(as_input(chunk))[0].float())
    latents = torch.cat(parts)
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    decoder.fold_scaling(mean, deviation)
    return (latents - mean[:, None, None]) / deviation[:, None, None]


def sharpen(decoder: Decoder, pixels: Tensor, latents: Tensor) -> None:
    """Train the decoder alone on slightly wrong latents, as the UNet will give it."""
    torch.manual_seed(SEED + 1)
    decoder = decoder.to(memory_format=torch.channels_last)
    decoder.post_quant.requires_grad_(False)
    parameters = [p for p in decoder.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.99), weight_decay=0.01)
    for step in range(SHARP_STEPS):
        rows = torch.randint(len(pixels), (VAE_BATCH,))
        x, z = as_input(pixels[rows]), latents[rows]
        with torch.autocast("cpu", torch.bfloat16):
            y = decoder((z + SHARP_NOISE * torch.randn_like(z)) / SCALING).float()
        error = (y - x).abs().mean() + (y - x).square().mean()
        advance(optimizer, error, rate_at(step, SHARP_STEPS, SHARP_RATE))
        if step % 100 == 0:
            print(f"decoder {step}: error {error:.4f}", flush=True)


def alphas_cumprod() -> Tensor:
    return torch.cumprod(1 - torch.linspace(BETA_START, BETA_END, TRAIN_TIMESTEPS, dtype=torch.float64), 0).float()


def velocity_loss(model: nn.ModuleDict, clean: Tensor, tokens: Tensor, alphas: Tensor) -> Tensor:
    """The squared error of the predicted velocity, at times spread evenly over the batch."""
    even = (torch.arange(len(clean)) + torch.rand(1)) / len(clean)
    t = (even * TRAIN_TIMESTEPS).long().clamp(max=TRAIN_TIMESTEPS - 1)
    signal, spread = alphas[t].sqrt()[:, None, None, None], (1 - alphas[t]).sqrt()[:, None, None, None]
    noise = torch.randn_like(clean)
    noisy = (signal * clean + spread * noise).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        guess = model["unet"](noisy, t, model["text"](tokens)).float()
    return F.mse_loss(guess, signal * noise - spread * clean)


def follow(average: dict[str, Tensor], model: nn.Module, step: int) -> None:
    """Move the running average of the weights; its memory grows with the steps."""
    keep = min(EMA, (step + 1) / (step + 10))
    for name, value in model.state_dict().items():
        average[name].lerp_(value, 1 - keep)


def train_painter(latents: Tensor, tokens: Tensor, untold: Tensor, vocabulary: int, steps: int) -> None:
    """Text encoder and UNet together; a tenth of the captions are blanked for guidance."""
    torch.manual_seed(SEED + 1)
    model = nn.ModuleDict({"text": TextEncoder(vocabulary, tokens.shape[1]), "unet": UNet()})
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99), weight_decay=0.01)
    average = {name: value.clone() for name, value in model.state_dict().items()}
    saved, start = WORK / "painter.pt", 0
    if saved.exists():
        state = torch.load(saved)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average, start = state["average"], state["step"]
    alphas, total, began = alphas_cumprod(), 0.0, time.time()
    for step in range(start, steps):
        torch.manual_seed(SEED + 2 + step)
        rows = torch.randint(len(latents), (BATCH,))
        told = torch.where(torch.rand(BATCH, 1) < UNTOLD, untold, tokens[rows])
        loss = velocity_loss(model, latents[rows], told, alphas)
        advance(optimizer, loss, rate_at(step, steps, RATE))
        follow(average, model, step)
        total += loss.item()
        if (step + 1) % 100 == 0:
            print(f"painter {step + 1}: loss {total / 100:.4f}, {time.time() - began:.0f} s", flush=True)
            total = 0.0
        if (step + 1) % 200 == 0 or step + 1 == steps:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state | {"average": average, "step": step + 1}, WORK / "painter.tmp")
            (WORK / "painter.tmp").rename(saved)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS)
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    WORK.mkdir(exist_ok=True)
    images, captions = gallery(PICTURES, SEED)
    pixels = torch.from_numpy(images)
    tokenizer.write(HERE / "tokenizer", *tokenizer.learn(captions))
    tokens_of = tokenizer.Tokenizer(HERE / "tokenizer")
    if not (WORK / "autoencoder.pt").exists():
        encoder, decoder = train_autoencoder(pixels)
        latents = latents_of(encoder, decoder, pixels)
        torch.save({"decoder": decoder.state_dict(), "latents": latents}, WORK / "autoencoder.pt")
    state = torch.load(WORK / "autoencoder.pt")
    latents = state["latents"]
    if not (WORK / "decoder.pt").exists():
        decoder = Decoder()
        decoder.load_state_dict(state["decoder"])
        sharpen(decoder, pixels, latents)
        torch.save(decoder.state_dict(), WORK / "decoder.pt")
    ids = torch.tensor([tokens_of(caption) for caption in captions])
    train_painter(latents, ids, torch.tensor(tokens_of("")), len(tokens_of.vocabulary), steps)


if __name__ == "__main__":
    main()
