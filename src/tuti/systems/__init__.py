"""The rooms of the house, in the order of a curriculum: name → module. The one place that lists them."""

import importlib

from tuti.run import Card

ROOMS = {
    "spark": "tuti.systems.spark",
    "transformer": "tuti.systems.transformer",
    "mixtral": "tuti.systems.mixtral",
    "finetune": "tuti.systems.finetune",
    "alphago": "tuti.systems.alphago",
}


def cards() -> dict[str, Card]:
    """Every room's card; a card names its functions by string, so this imports no room's code."""
    return {name: importlib.import_module(module).CARD for name, module in ROOMS.items()}
