"""Write the trained painter as the folder of ONNX files that Stable Diffusion exporters write.

Run from the `models` folder, after `painter.train`: `python -m painter.export`.

Weights are stored as FP16 and widened by a `Cast` before use: half the size,
and the arithmetic stays float32.
"""

import json
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from painter.networks import LATENT_CHANNELS, SCALING, TEXT_WIDTH, Decoder, TextEncoder, UNet
from painter.sample import GUIDANCE, STEPS
from painter.tokenizer import LENGTH, Tokenizer
from painter.train import BETA_END, BETA_START, HERE, TRAIN_TIMESTEPS, WORK

OPSET = 17
SMALLEST_HALVED = 64

Shapes = dict[str, list[str | int]]


def write_json(path: Path, value: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """Larger float32 weights as FP16, each widened again by a Cast at the head of the graph."""
    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < SMALLEST_HALVED:
            continue
        name, values = weight.name, numpy_helper.to_array(weight).astype(np.float16)
        weight.CopyFrom(numpy_helper.from_array(values, f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], name=f"{name}.widen", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def shared_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """With one node for each constant, however often the exporter wrote it."""
    first: dict[bytes, str] = {}
    same: dict[str, str] = {}
    nodes = []
    for node in model.graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
        if node.op_type == "Constant":
            value = node.attribute[0].SerializeToString(deterministic=True)
            same[node.output[0]] = first.setdefault(value, node.output[0])
        if same.get(node.output[0], node.output[0]) == node.output[0]:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without the exporter's names and notes: shorter, and free of the paths of the machine that wrote it."""
    names: dict[str, str] = {}
    for index, node in enumerate(model.graph.node):
        node.name, node.doc_string = f"{node.op_type}_{index}", ""
        del node.metadata_props[:]
        for output in node.output:
            names.setdefault(output, output if "/" not in output else f"t{index}")
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    del model.graph.value_info[:]
    model.producer_name, model.producer_version = "nabla-models", ""
    return model


def export(part: nn.Module, name: str, inputs: dict[str, torch.Tensor], output: str, shapes: Shapes) -> None:
    """Trace one network and write `name/model.onnx`; `shapes` names every axis of inputs and output."""
    path = HERE / name / "model.onnx"
    path.parent.mkdir(exist_ok=True)
    axes = {key: {i: d for i, d in enumerate(dims) if isinstance(d, str)} for key, dims in shapes.items()}
    part = part.eval().to(memory_format=torch.contiguous_format)
    torch.onnx.export(
        part, tuple(inputs.values()), path, input_names=list(inputs), output_names=[output], dynamic_axes=axes,
        opset_version=OPSET, dynamo=False,
    )
    model = halved(plain(shared_constants(onnx.load(path))))
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def write_settings(vocabulary: int) -> None:
    """The JSON files about the pipeline and each part."""
    write_json(HERE / "model_index.json", {
        "_class_name": "OnnxStableDiffusionPipeline",
        "_nabla": {"steps": STEPS, "guidance": GUIDANCE},
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["diffusers", "OnnxRuntimeModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "OnnxRuntimeModel"],
        "vae_decoder": ["diffusers", "OnnxRuntimeModel"],
    })
    write_json(HERE / "scheduler" / "scheduler_config.json", {
        "_class_name": "DDIMScheduler",
        "num_train_timesteps": TRAIN_TIMESTEPS,
        "beta_start": BETA_START,
        "beta_end": BETA_END,
        "beta_schedule": "linear",
        "prediction_type": "v_prediction",
        "timestep_spacing": "trailing",
        "steps_offset": 0,
        "clip_sample": False,
        "set_alpha_to_one": True,
    })
    write_json(HERE / "text_encoder" / "config.json", {
        "hidden_size": TEXT_WIDTH, "max_position_embeddings": LENGTH, "vocab_size": vocabulary,
    })
    write_json(HERE / "unet" / "config.json", {
        "_class_name": "UNet2DConditionModel", "in_channels": LATENT_CHANNELS, "out_channels": LATENT_CHANNELS,
        "sample_size": 8, "cross_attention_dim": TEXT_WIDTH,
    })
    write_json(HERE / "vae_decoder" / "config.json", {
        "_class_name": "AutoencoderKL", "latent_channels": LATENT_CHANNELS, "out_channels": 3, "sample_size": 32,
        "block_out_channels": [24, 48, 80], "scaling_factor": SCALING,
    })


def main() -> None:
    vocabulary = len(Tokenizer(HERE / "tokenizer").vocabulary)
    average = torch.load(WORK / "painter.pt")["average"]
    model = nn.ModuleDict({"text": TextEncoder(vocabulary, LENGTH), "unet": UNet()})
    model.load_state_dict(average)
    decoder = Decoder()
    decoder.load_state_dict(torch.load(WORK / "decoder.pt"))
    write_settings(vocabulary)

    ids, states = torch.zeros(2, LENGTH, dtype=torch.int64), torch.zeros(2, LENGTH, TEXT_WIDTH)
    latents, time = torch.zeros(2, LATENT_CHANNELS, 8, 8), torch.tensor([1])
    text_shape, latent_shape = ["batch", LENGTH, TEXT_WIDTH], ["batch", LATENT_CHANNELS, 8, 8]
    export(model["text"], "text_encoder", {"input_ids": ids}, "last_hidden_state",
           {"input_ids": ["batch", LENGTH], "last_hidden_state": text_shape})
    export(model["unet"], "unet", {"sample": latents, "timestep": time, "encoder_hidden_states": states}, "out_sample",
           {"sample": latent_shape, "timestep": ["steps"], "encoder_hidden_states": text_shape,
            "out_sample": latent_shape})
    export(decoder, "vae_decoder", {"latent_sample": latents}, "sample",
           {"latent_sample": latent_shape, "sample": ["batch", 3, 32, 32]})


if __name__ == "__main__":
    main()
