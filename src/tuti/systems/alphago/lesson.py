"""Stage `lesson`: a game judged move by move, its blunders, and what a strong player would have played."""
# sgfmill has no types.
# pyright: basic

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from annotated_types import Ge, Gt
from tyro.conf import Positional

from tuti import ui
from tuti.run import Run, UserError, atomic_write
from tuti.systems.alphago import board
from tuti.systems.alphago.board import BLACK
from tuti.systems.alphago.game import Game, name_of
from tuti.systems.alphago.players import open_player
from tuti.systems.alphago.sgf import point_of, read_game

ROLLOUTS = 400


@dataclass(frozen=True)
class Lesson:
    """Goes through a game: curves of chances and territory, blunders, better moves."""

    game: Positional[Path]
    """The game, an SGF file"""
    player: Positional[str] = "tuti"
    """Who judges: a run of `tuti alphago search` or `train`; the player that ships knows 9 × 9"""
    simulations: Annotated[int, Ge(2)] = 1000
    """Simulations for a position, at most"""
    seconds: Annotated[float, Gt(0)] = 5.0
    """Seconds for it, at most"""
    blunder: Annotated[float, Gt(0)] = 0.1
    """The chances that a blunder loses at least: 0.1 is one game in ten"""


class Judged(NamedTuple):
    """A position: Black's chances, 0 to 1; Black's lead, the mean of random games; the move to make."""

    chances: float
    lead: float
    best: int


def judged(game: Game, choose: Any, seconds: float) -> Judged:
    """What a player that tells its `value` thinks of a position, or the result of a game that is over."""
    if game.over:
        lead = game.lead()
        return Judged((1 + (lead > 0) - (lead < 0)) / 2, lead, board.PASS)
    best = choose(game, seconds)
    value = choose.value if game.to_move == BLACK else -choose.value
    leads, _ = board.playouts(*game.arrays, ROLLOUTS)
    return Judged((1 + value) / 2, float(leads.mean()) - game.komi, best)


def lesson(config: Lesson, run: Run) -> None:
    """Saves the game with comments and better moves beside the blunders, and a page of curves."""
    game, players, _, _, tree = read_game(config.game)
    player = open_player(config.player, game.size, config.simulations, run.options.seed)
    if not hasattr(player.choose, "value"):
        player.close()
        raise UserError(f"{player.name} does not tell its chances", hint="give a run of tuti alphago")
    seen: list[Judged] = []
    for ply in range(len(game.moves) + 1):
        seen.append(judged(replace(game, moves=game.moves[:ply]), player.choose, config.seconds))
        run.log("position", step=ply, chances=seen[-1].chances, lead=seen[-1].lead)
        run.show(f"move {ply}/{len(game.moves)}: Black {seen[-1].chances:.0%}", passing=True)
    lost = [
        (before.chances - after.chances) * (1 if colour == BLACK else -1)
        for (colour, _), before, after in zip(game.moves, seen, seen[1:], strict=False)
    ]
    rows: list[tuple[int, str, str, str, str]] = []
    for ply in sorted(range(len(lost)), key=lost.__getitem__, reverse=True):
        colour, cell = game.moves[ply]
        if lost[ply] >= config.blunder and cell != seen[ply].best:
            made, better = (name_of(p, game.size) for p in (cell, seen[ply].best))
            rows.append((ply + 1, "Black" if colour == BLACK else "White", made, better, f"{lost[ply]:.0%}"))
    for number, colour, made, better, share in rows:
        run.show(f"move {number}, {colour} {made}, loses {share} of the chances; better: {better}")
    run.show(f"{len(rows)} blunders in {len(lost)} moves")
    comment(tree, game, seen, {number - 1 for number, *_ in rows})
    folder = run.folder / "artifacts"
    folder.mkdir(exist_ok=True)
    atomic_write(folder / "lesson.sgf", tree.serialise().decode())
    atomic_write(folder / "lesson.html", page(config.game.name, players, seen, rows))


def comment(tree: Any, game: Game, seen: list[Judged], blunders: set[int]) -> None:
    """Puts chances and lead beside each move of the main line, and a better move beside each blunder."""
    nodes = [node for node in tree.get_main_sequence() if node.get_move()[0] is not None]
    for ply, node in enumerate(nodes):
        after = seen[ply + 1]
        node.add_comment_text(f"Black's chances: {after.chances:.0%}. Black's lead: {after.lead:+.1f}")
        if ply in blunders:
            better = node.parent.new_child()
            better.set_move("bw"[game.moves[ply][0] - 1], point_of(game, seen[ply].best))
            better.add_comment_text(f"Better. Black's chances: {seen[ply].chances:.0%}")


def page(name: str, players: tuple[str, str], seen: list[Judged], rows: list[Any]) -> str:
    """The lesson to look at, one file without a script."""
    curves = [
        ui.line_chart([ui.Series(label, list(enumerate(line)))], title=label, x_label="moves", y_label=unit)
        for label, unit, line in (
            ("Black's chances", "share of games", [one.chances for one in seen]),
            ("Black's lead", "points", [one.lead for one in seen]),
        )
    ]
    blunders = ui.table("Blunders, the worst first", ("move", "who", "played", "better", "lost"), rows)
    lead = ui.paragraph(f"Black: {players[0] or '?'}. White: {players[1] or '?'}.")
    ahead = ui.Section("curves", "Who is ahead", "".join(curves))
    return ui.page(name, lead, [ahead, ui.Section("blunders", "Blunders", blunders)])
