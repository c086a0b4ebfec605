"""Go as its rules say it, and slow: a position is a dictionary, a chain is found by walking over it.

Written from the rules alone, to be compared with board.py. Points are (x, y) from the top left, from 0.
"""

EMPTY, BLACK, WHITE = 0, 1, 2
Point = tuple[int, int]
Stones = dict[Point, int]


def other(colour: int) -> int:
    return WHITE if colour == BLACK else BLACK


class SlowBoard:
    """rule: "positional", "situational" or "simple". A lone stone's suicide is never allowed."""

    def __init__(self, size: int, rule: str, suicide: bool, set_up: Stones, first: int = BLACK) -> None:
        self.size, self.rule, self.suicide, self.to_move = size, rule, suicide, first
        self.every = [(x, y) for y in range(size) for x in range(size)]
        self.beside = {
            p: [q for q in self.every if abs(p[0] - q[0]) + abs(p[1] - q[1]) == 1] for p in self.every
        }
        self.stones = {p: set_up.get(p, EMPTY) for p in self.every}
        self.positions = [tuple(self.stones.values())]  # all that were, the present one last
        self.situations = [(self.positions[0], first)]  # the same, with whose turn it was
        self.moves: list[tuple[int, Point | None]] = []

    def region(self, stones: Stones, start: Point) -> tuple[set[Point], set[Point]]:
        """The points of one colour that hang together with a point; and those beside them."""
        inside, edge, todo = {start}, set(), [start]
        while todo:
            for q in self.beside[todo.pop()]:
                if stones[q] != stones[start]:
                    edge.add(q)
                elif q not in inside:
                    inside.add(q)
                    todo.append(q)
        return inside, edge

    def dead(self, stones: Stones, near: list[Point], colour: int) -> list[set[Point]]:
        """The colour's chains, among those of some points, that have no liberty."""
        chains: list[set[Point]] = []
        for p in near:
            if stones[p] == colour and not any(p in chain for chain in chains):
                inside, edge = self.region(stones, p)
                if all(stones[q] != EMPTY for q in edge):
                    chains.append(inside)
        return chains

    def after(self, colour: int, p: Point) -> tuple[Stones, list[set[Point]], int]:
        """What a move makes of the stones: (stones, enemy chains that go, own stones that go)."""
        stones = self.stones | {p: colour}
        taken = self.dead(stones, self.beside[p], other(colour))
        stones |= {q: EMPTY for chain in taken for q in chain}
        own = self.dead(stones, [p], colour)
        stones |= {q: EMPTY for chain in own for q in chain}
        return stones, taken, sum(map(len, own))

    def verdict(self, colour: int, p: Point) -> str:
        """Whether a move is "legal", or why not."""
        if self.stones[p] != EMPTY or self.too_long():
            return "taken or too late"
        stones, _, own = self.after(colour, p)
        if own == 1 or (own and not self.suicide):
            return "suicide"
        position = tuple(stones.values())
        if self.rule == "positional":
            again = position in self.positions
        elif self.rule == "situational":
            again = (position, other(colour)) in self.situations
        else:  # what the enemy's last move did may not be undone at once
            again = self.moves[-1:] != [] and self.moves[-1][0] != colour and position == self.positions[-2]
        return "repetition" if again else "legal"

    def play(self, colour: int, p: Point | None) -> tuple[list[set[Point]], int]:
        """Plays a move, or passes: (enemy chains that went, own stones that went)."""
        taken, own = [], 0
        if p is not None:
            self.stones, taken, own = self.after(colour, p)
        self.to_move = other(colour)
        self.moves.append((colour, p))
        self.positions.append(tuple(self.stones.values()))
        self.situations.append((self.positions[-1], self.to_move))
        return taken, own

    def too_long(self) -> bool:
        return len(self.moves) >= 4 * self.size * self.size

    def over(self) -> bool:
        return self.too_long() or [p for _, p in self.moves[-2:]] == [None, None]

    def owners(self) -> Stones:
        """A stone's point is its colour's; an empty one is whose stones alone its region touches."""
        owner = dict(self.stones)
        for p in self.every:
            if self.stones[p] == EMPTY:
                colours = {self.stones[q] for q in self.region(self.stones, p)[1]}
                owner[p] = colours.pop() if len(colours) == 1 else EMPTY
        return owner
