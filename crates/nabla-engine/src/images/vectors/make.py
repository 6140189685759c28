"""What other libraries answer: tokens by `tokenizers`, steps by `diffusers`. Writes `tokens.json` and `steps.json`.

Run from this folder: `python make.py ../../../../../models/painter/tokenizer`, with diffusers 0.42.1, tokenizers 0.23.3
and torch installed.
"""

import json
import random
import sys
from pathlib import Path

import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, PNDMScheduler
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

WORDS = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
TEXTS = [
    "", " ", "a red circle above a blue square", "A Large YELLOW star", "a  red\tcircle\n\non a\u00a0white background",
    "don't won't it's we're I've I'm you'll he'd 'tis 'S rock'n'roll", "''s'' 't't", "7 77 3.14 1e9 ½ Ⅷ ² ٣ 四 १२३",
    "snake_case __init__ a-b c/d e\\f (x) [y] {z} <|endoftext|> <|startoftext|> </w> a</w>",
    "café cafe\u0301 Ångström A\u030angstro\u0308m \u1e9b\u0323", "ÀÉÎÕÜ ÇŞĞ İstanbul ıslak Iz ΣΊΣΥΦΟΣ ὈΔΥΣΣΕΎΣ", "ẞ ß ﬁ Ǆ ǅ",
    "日本語のテキスト 中文 한국어 한글 \u1112\u1161\u11ab", "Привет мир שלום مرحبا नमस्ते", "👍🏽 👨‍👩‍👧 🇩🇪 ☃\ufe0f",
    "\u200b\u200d\ufeff zero", "a\u0000b\u0001c\u007f\u0085d\u2028e", "e\u0301\u0301 \u0301a q\u0307\u0323",
    "!!! ??? ... ,;: @#$%^&*", "redcircle bluesquares greenish staring houseboat sunflower treeish orangey",
    "\U0001d400\U0001d7d8 \U00010400", "Ω Ω K Å", "x" * 60, "re" * 30, "hearthearthearts",
]


def clip(folder: Path) -> Tokenizer:
    vocabulary = json.loads((folder / "vocab.json").read_text())
    merges = [tuple(line.split()) for line in (folder / "merges.txt").read_text().splitlines()[1:]]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, end_of_word_suffix="</w>", fuse_unk=False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(WORDS), "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return tokenizer


def tokens(folder: Path) -> list[list]:
    tokenizer, rng = clip(folder), random.Random(0)
    pieces = [line.split()[0] for line in (folder / "merges.txt").read_text().splitlines()[1:]]
    mixed = [" ".join("".join(rng.choices(pieces, k=rng.randint(1, 5))) for _ in range(8)) for _ in range(120)]
    signs = [chr(c) for c in (*range(0x20, 0x250), 0x300, 0x301, 0x308, 0x3a3, 0x660, 0x2160, 0x3042, 0xac00, 0x1f600)]
    noise = ["".join(rng.choices(signs, k=40)) for _ in range(120)]
    return [[text, tokenizer.encode(text, add_special_tokens=False).ids] for text in TEXTS + mixed + noise]


def unet(x: torch.Tensor, time: float) -> torch.Tensor:
    """An answer that depends on latents, time and place."""
    place = torch.arange(len(x), dtype=torch.float32)
    return x * 0.375 + (float(time) / 1024) * (place * 0.25 - 0.875) + 0.125


def walk(scheduler, steps: int) -> dict:
    scheduler.set_timesteps(steps)
    x = torch.tensor([1.5, -0.75, 0.25, 2.0, -1.25, 0.5, -2.5, 0.0]) * scheduler.init_noise_sigma
    times = [float(time) for time in scheduler.timesteps]
    for time in scheduler.timesteps:
        x = scheduler.step(unet(scheduler.scale_model_input(x, time), time), time, x).prev_sample
    return {"steps": steps, "times": times, "start": float(scheduler.init_noise_sigma), "end": x.tolist()}


def configs() -> list[tuple[type, dict]]:
    schedules = [
        {"beta_schedule": "linear"},
        {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
        {"beta_schedule": "squaredcos_cap_v2"},
    ]
    out: list[tuple[type, dict]] = []
    for schedule in schedules:
        for prediction in ("epsilon", "v_prediction", "sample"):
            for spacing in ("leading", "trailing", "linspace"):
                base = schedule | {"prediction_type": prediction, "timestep_spacing": spacing}
                out.append((DDIMScheduler, base | {"clip_sample": False, "steps_offset": 1}))
                out.append((DDIMScheduler, base | {"clip_sample_range": 0.8, "set_alpha_to_one": False}))
                out.append((EulerDiscreteScheduler, base | {"steps_offset": 1}))
                if prediction != "sample":
                    out.append((PNDMScheduler, base | {"skip_prk_steps": True, "steps_offset": 1}))
    return out


def steps() -> list[dict]:
    cases = []
    for kind, config in configs():
        counts = (1, 2, 5, 20, 33) if kind is not PNDMScheduler else (2, 5, 20, 33)
        walks = [walk(kind(**config), count) for count in counts]
        # Written out as a folder has it, so that the reader of settings is tested as well.
        cases.append({"config": {"_class_name": kind.__name__, **config}, "walks": walks})
    return cases


def main() -> None:
    Path("tokens.json").write_text(json.dumps(tokens(Path(sys.argv[1])), separators=(",", ":")) + "\n")
    Path("steps.json").write_text(json.dumps(steps(), separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
