"""Search over callables: trees on arrays, which know no game and no network."""

from tuti.search.mcts import GUMBEL as GUMBEL
from tuti.search.mcts import PUCT as PUCT
from tuti.search.mcts import Trees as Trees
from tuti.search.mcts import descend as descend
from tuti.search.mcts import first_choice as first_choice
from tuti.search.mcts import grow as grow
from tuti.search.mcts import halving as halving
from tuti.search.mcts import improved as improved
from tuti.search.mcts import likely as likely
from tuti.search.mcts import softmax as softmax
