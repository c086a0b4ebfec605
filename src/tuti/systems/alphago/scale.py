"""What --scale names. Tiny: on 5 × 5 every stage learns in a minute on two cores; small: in half an hour."""

from functools import partial
from pathlib import Path

from tuti.systems.alphago.apv import Parts
from tuti.systems.alphago.match import Match
from tuti.systems.alphago.policy import Policy
from tuti.systems.alphago.reinforce import Reinforce
from tuti.systems.alphago.rollout import Rollout
from tuti.systems.alphago.train import Train
from tuti.systems.alphago.value import Value

# Folders are named as the commands of this room's README name them: each stage finds the one before it.
GAMES, SL, ROLLOUT, RL, VALUE = map(Path, ("games", "sl", "rollout", "rl", "value"))
tiny_match = partial(Match, "playouts:300", "playouts:300", games=300, size=5, komi=0.5, opening=(0, 1, 2, 3))
tiny_sl = partial(Policy, GAMES, 5, blocks=2, channels=24, iterations=6, updates=50)
tiny_rollout = partial(Rollout, GAMES, 5, epochs=5)
tiny_rl = partial(Reinforce, SL, iterations=30, games=64, batch=512, joins=5)
tiny_value = partial(Value, SL, RL, games=1024, blocks=2, channels=24, iterations=6)
tiny_search = partial(Parts, SL, ROLLOUT, VALUE)

tiny = partial(Train, size=5, komi=0.5, blocks=2, channels=24, games=64, iterations=8, updates=30, batch=128)
small = partial(Train, size=7, blocks=4, channels=32, games=128, iterations=100, updates=60, batch=256)
