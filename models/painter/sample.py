"""Paint a prompt with ONNX Runtime: a reference that reads only the exported folder.

Run from the `models` folder: `python -m painter.sample "a red circle" --seed 7 --out circle.png`.

Needs numpy and onnxruntime, no PyTorch. Everything but the three networks is
float32 arithmetic written out here, so that another engine can do the same.
"""

import argparse
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import onnxruntime as ort

from painter.tokenizer import Tokenizer

HERE = Path(__file__).parent
STEPS, GUIDANCE = 20, 3.0


class Scheduler:
    """DDIM without added noise, as its `scheduler_config.json` describes it."""

    def __init__(self, config: dict) -> None:
        self.config, self.count = config, config["num_train_timesteps"]
        self.alphas = np.cumprod(1.0 - self.betas())
        self.last_alpha = 1.0 if config["set_alpha_to_one"] else self.alphas[0]

    def betas(self) -> np.ndarray:
        start, end = self.config["beta_start"], self.config["beta_end"]
        match self.config["beta_schedule"]:
            case "linear":
                return np.linspace(start, end, self.count)
            case "scaled_linear":
                return np.linspace(start**0.5, end**0.5, self.count) ** 2
        raise ValueError(f"no beta schedule is called {self.config['beta_schedule']}")

    def timesteps(self, steps: int) -> np.ndarray:
        """The times that the network is asked about, the noisiest first."""
        match self.config["timestep_spacing"]:
            case "trailing":
                return np.round(np.arange(self.count, 0, -self.count / steps)).astype(np.int64) - 1
            case "leading":
                return (np.arange(steps) * (self.count // steps))[::-1].astype(np.int64) + self.config["steps_offset"]
        raise ValueError(f"no timestep spacing is called {self.config['timestep_spacing']}")

    def step(self, x: np.ndarray, guess: np.ndarray, t: int, steps: int) -> np.ndarray:
        """From time `t` one step towards the clean latents."""
        before = t - self.count // steps
        alpha, next_alpha = self.alphas[t], self.alphas[before] if before >= 0 else self.last_alpha
        signal, spread = np.float32(alpha**0.5), np.float32((1 - alpha) ** 0.5)
        match self.config["prediction_type"]:
            case "v_prediction":
                clean, noise = signal * x - spread * guess, signal * guess + spread * x
            case "epsilon":
                clean, noise = (x - spread * guess) / signal, guess
            case other:
                raise ValueError(f"no prediction type is called {other}")
        return np.float32(next_alpha**0.5) * clean + np.float32((1 - next_alpha) ** 0.5) * noise


class Painter:
    """The exported folder, loaded: tokenizer, text encoder, UNet, decoder and scheduler."""

    def __init__(self, folder: Path = HERE) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.parts = {
            name: ort.InferenceSession(folder / name / "model.onnx", options, providers=["CPUExecutionProvider"])
            for name in ("text_encoder", "unet", "vae_decoder")
        }
        self.tokenizer = Tokenizer(folder / "tokenizer")
        self.scheduler = Scheduler(json.loads((folder / "scheduler" / "scheduler_config.json").read_text()))
        unet = json.loads((folder / "unet" / "config.json").read_text())
        self.latent_shape = (unet["in_channels"], unet["sample_size"], unet["sample_size"])
        self.scaling = np.float32(json.loads((folder / "vae_decoder" / "config.json").read_text())["scaling_factor"])

    def run(self, part: str, **inputs: np.ndarray) -> np.ndarray:
        return self.parts[part].run(None, inputs)[0]

    def noise(self, seed: int) -> np.ndarray:
        """Initial latents by numpy's generator; a product brings its own and passes them in."""
        return np.random.default_rng(seed).standard_normal(self.latent_shape, dtype=np.float32)

    def paint(
        self, prompts: list[str], latents: np.ndarray, steps: int = STEPS, guidance: float = GUIDANCE
    ) -> np.ndarray:
        """One uint8 picture [height, width, 3] per prompt, from latents [n, channels, height, width]."""
        blank = self.run("text_encoder", input_ids=np.array([self.tokenizer("")] * len(prompts), np.int64))
        told = self.run("text_encoder", input_ids=np.array([self.tokenizer(p) for p in prompts], np.int64))
        states, x = np.concatenate([blank, told]), latents.astype(np.float32)
        for t in self.scheduler.timesteps(steps):
            twice, time = np.concatenate([x, x]), np.array([t], np.int64)
            free, led = np.split(self.run("unet", sample=twice, timestep=time, encoder_hidden_states=states), 2)
            x = self.scheduler.step(x, free + np.float32(guidance) * (led - free), int(t), steps)
        pictures = self.run("vae_decoder", latent_sample=x / self.scaling)
        pixels = np.round(np.clip(pictures / 2 + 0.5, 0, 1) * 255).astype(np.uint8)
        return pixels.transpose(0, 2, 3, 1)


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of uint8 [height, width, 3]."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in np.ascontiguousarray(pixels))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""),
    ]
    body = [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def main() -> None:
    parser = argparse.ArgumentParser(description="Paint a prompt.")
    parser.add_argument("prompt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--latents", type=Path, help="a .npy file of initial latents, in place of a seed")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--guidance", type=float, default=GUIDANCE)
    parser.add_argument("--out", type=Path, default=Path("painting.png"))
    options = parser.parse_args()
    painter = Painter()
    latents = np.load(options.latents) if options.latents else painter.noise(options.seed)
    picture = painter.paint([options.prompt], latents.reshape(1, *painter.latent_shape), options.steps, options.guidance)
    options.out.write_bytes(png(picture[0]))


if __name__ == "__main__":
    main()
