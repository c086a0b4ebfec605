"""Chains over several rooms: name → module. The one place that lists them."""

from tuti.run import Card, Entry

VERBS = {
    "teach": Entry("tuti.pipelines.teach:teach", "teach a model from a folder of text"),
    "evaluate": Entry("tuti.pipelines.evaluate:evaluate_run", "what a taught model is worth"),
}
PIPELINES = {
    "teach": Card(
        title="Teach: a folder of text becomes a model that answers", paper="",
        stages={"teach": VERBS["teach"]}, views={"evaluate": VERBS["evaluate"]}, verbs=VERBS,
    ),
}
