"""The house's own verbs: those that belong to no room."""

from tuti.run import Entry

VERBS = {
    "demo": Entry("tuti.app.demo:demo", "teach a model on Hafez and Shakespeare, watch, and chat"),
    "chat": Entry("tuti.app.chat:chat", "talk with a model in the terminal"),
    "list": Entry("tuti.app.views:list_rooms", "list the rooms and what each can do"),
    "runs": Entry("tuti.app.views:runs", "list runs (ls), their sizes (du), or remove some (rm)"),
    "look": Entry("tuti.app.views:look", "show what a run holds: config, events, artifacts, cost"),
    "fetch": Entry("tuti.app.views:fetch", "fetch a third-party asset, verified and with its licence"),
}
