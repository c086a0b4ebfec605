"""The house's own verbs, those that belong to no room; and all cards."""

from tuti import pipelines, systems
from tuti.run import Card, Entry

VERBS = {
    "demo": Entry("tuti.app.serve:demo", "teach a model on Hafez and Shakespeare, watch, and chat"),
    "chat": Entry("tuti.app.chat:chat", "talk with a model in the terminal"),
    "serve": Entry("tuti.app.serve:serve", "serve models: OpenAI-compatible API and web page"),
    "play": Entry("tuti.app.serve:play", "play Go in the browser"),
    "list": Entry("tuti.app.views:list_rooms", "list the rooms and what each can do"),
    "runs": Entry("tuti.app.views:runs", "list runs (ls), their sizes (du), or remove some (rm)"),
    "look": Entry("tuti.app.views:look", "show what a run holds: config, events, artifacts, cost"),
    "claims": Entry("tuti.app.views:claims", "show the ledger of claims, and what became of each"),
    "doctor": Entry("tuti.app.doctor:doctor", "examine a stage before it trains, or this machine"),
    "fetch": Entry("tuti.app.views:fetch", "fetch a third-party asset, verified and with its licence"),
}
HOUSE = Card("", "", views=VERBS, verbs=VERBS)


def all_cards() -> dict[str, Card]:
    """Pipelines first, then the rooms."""
    return {**pipelines.PIPELINES, **systems.cards()}


def described(name: str, card: Card) -> str:
    """What a room is, and its commands."""
    lines = [f"{name:<12} {card.title}", *([f"{'':<12} {card.paper}"] if card.paper else [])]
    for verb, entry in {**card.stages, **card.views}.items():
        words = verb if verb in card.verbs else f"{name} {verb}"
        lines += [f"{'':<12}   tuti {words:<22} {entry.help}"]
    return "\n".join(lines)
