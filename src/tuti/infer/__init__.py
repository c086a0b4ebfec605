"""Generation: a model folder loaded, sampling, the plain loop, the engine with continuous batching."""

from tuti.infer.engine import Engine
from tuti.infer.generate import Model, fitting, generate, sample_text
from tuti.infer.grammar import Grammar, compiled
from tuti.infer.held_out import HeldOut, document_nats
from tuti.infer.loading import LoadedModel, load_model, save_model
from tuti.infer.packed import PackedDecoder, laid_out
from tuti.infer.requests import Busy, Counters, Event, Finish, Inbox, Request, StopText, Ticket, Token
from tuti.infer.sampling import Sampling, sample

__all__ = [
    "Busy", "Counters", "Engine", "Event", "Finish", "Grammar", "HeldOut", "Inbox", "LoadedModel",
    "Model", "PackedDecoder", "Request", "Sampling", "StopText", "Ticket", "Token", "compiled",
    "document_nats", "fitting", "generate", "laid_out", "load_model", "sample", "sample_text", "save_model",
]
