"""Upcycling (Komatsuzaki et al. 2022): a dense model's feed-forward layers, each copied into experts."""

from dataclasses import replace
from pathlib import Path

import torch

from tuti.nn import Decoder, DecoderConfig, load_decoder
from tuti.nn.files import read_json
from tuti.nn.hugging_face import config_from_hf
from tuti.run import UserError


def upcycled_config(start: Path, experts: int, active: int) -> DecoderConfig:
    """The start's decoder with experts, each as wide as its one feed-forward layer."""
    dense = config_from_hf(read_json(start / "config.json"))
    if dense.experts:
        raise UserError(f"{start} has experts already", hint="give a dense model's run, such as model:twin")
    if active > experts:
        hint = "--model.experts 8 --model.active 2"
        raise UserError(f"a token takes {active} of {experts} experts", hint=hint)
    return replace(dense, experts=experts, active=active)


def upcycled(start: Path, config: DecoderConfig, generator: torch.Generator) -> Decoder:
    """At first the dense model's very function, since weights of the chosen sum to 1; routers are random.

    The copies part because each is trained on what the router gives it.
    """
    model, given = Decoder(config, generator), load_decoder(start).state_dict()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".router." not in name:
                block, _, expert = name.partition(".experts.")
                parameter.copy_(given[f"{block}.{expert.partition('.')[2]}" if expert else name])
    return model
