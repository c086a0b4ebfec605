"""Search over callables: trees on arrays, which know no game and no network."""

from tuti.search.mcts import GUMBEL, PUCT, Trees, descend, first_choice, grow, halving, improved, likely

__all__ = ["GUMBEL", "PUCT", "Trees", "descend", "first_choice", "grow", "halving", "improved", "likely"]
