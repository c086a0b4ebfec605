"""Stage `lesson`: a game judged move by move, its blunders, and what a strong player would have played."""
# sgfmill has no types.
# pyright: basic

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from annotated_types import Ge, Gt
from tyro.conf import Positional

from tuti import ui
from tuti.run import Run, UserError
from tuti.systems.alphago import board
from tuti.systems.alphago.game import Game, name_of
from tuti.systems.alphago.players import open_player
from tuti.systems.alphago.sgf import point_of, read_game


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
    """A position: Black's chances, 0 to 1, and lead in points, the mean of random games; the move to make."""

    chances: float
    lead: float
    best: int


def judged(game: Game, choose: Any, seconds: float) -> Judged:
    """What a player that tells its `value` thinks of a position."""
    best, black = choose(game, seconds), 1 if game.to_move == board.BLACK else -1
    return Judged((1 + black * choose.value) / 2, game.owners().sum() - game.komi, best)


def lesson(config: Lesson, run: Run) -> None:
    """Saves the game with comments and better moves beside the blunders, and a page of curves."""
    game, players, *_, tree = read_game(config.game)
    player = open_player(config.player, game.size, config.simulations, run.options.seed)
    if not hasattr(player.choose, "value") or getattr(player.choose, "letters", "") == "p":
        player.close()
        raise UserError(f"{player.name} does not tell its chances", hint="give a run of tuti alphago")
    if not game.in_turn:
        raise UserError(f"{config.game}: a colour moves twice in a row", hint="a game of moves in turn")
    while game.moves and game.moves[-1][1] == board.PASS:  # so people end; what is dead is not taken then
        game = game.undone()
    seen, blunders = list[Judged](), dict[int, tuple[int, str, str, str, float]]()
    for ply in range(len(game.moves) + 1):
        seen.append(judged(replace(game, moves=game.moves[:ply]), player.choose, config.seconds))
        run.log("position", step=ply, chances=seen[-1].chances, lead=seen[-1].lead)
        run.show(f"move {ply}/{len(game.moves)}: Black {seen[-1].chances:.0%}", passing=True)
    for ply, (colour, cell) in enumerate(game.moves):
        best, side = seen[ply].best, 1 if colour == board.BLACK else -1
        if cell != best and side * (seen[ply].chances - seen[ply + 1].chances) >= config.blunder:
            # Who is to move is judged too well: moves are compared when both are played.
            other = replace(game, moves=[*game.moves[:ply], (colour, best)])
            better = judged(other, player.choose, config.seconds).chances
            lost = side * (better - seen[ply + 1].chances)
            if lost >= config.blunder:
                names = name_of(cell, game.size), name_of(best, game.size)
                blunders[ply] = ply + 1, "Black" if side > 0 else "White", *names, round(lost, 2)
                run.show("move {}, {} {}; better: {}; chances lost: {}".format(*blunders[ply]))
    run.show(f"{len(blunders)} blunders in {len(game.moves)} moves")
    nodes = [node for node in tree.get_main_sequence() if node.get_move()[0] is not None]
    for ply, (node, (chances, lead, _)) in enumerate(zip(nodes, seen[1:], strict=False)):
        node.add_comment_text(f"Black's chances: {chances:.0%}. Black's lead: {lead:+.1f}")
        if ply in blunders and node.parent:
            better = node.parent.new_child()
            better.set_move("bw"[game.moves[ply][0] - 1], point_of(game, seen[ply].best))
            better.add_comment_text(f"Better, by {blunders[ply][-1]:.0%} of the chances.")
    rows = sorted(blunders.values(), key=lambda row: -row[-1])
    with run.save("lesson", "Lesson") as folder:
        (folder / "lesson.sgf").write_bytes(tree.serialise())
        (folder / "lesson.html").write_text(page(config.game.name, players, seen, rows), "utf-8")
    run.show(f"{run.path('artifacts', 'lesson')}: lesson.sgf, lesson.html")


def page(name: str, players: tuple[str, str], seen: list[Judged], rows: list[Any]) -> str:
    """The lesson to look at, one file without a script."""
    lines = ("Black's chances", "share of games"), ("Black's lead", "points")
    curves = [
        ui.line_chart([ui.Series(label, [*enumerate(line)])], title=label, x_label="moves", y_label=unit)
        for (label, unit), line in zip(lines, zip(*(one[:2] for one in seen), strict=True), strict=True)
    ]
    blunders = ui.table("The worst first", ("move", "who", "played", "better", "chances lost"), rows)
    ahead = ui.Section("curves", "Who is ahead", "".join(curves))
    lead = ui.paragraph(f"Black: {players[0] or '?'}. White: {players[1] or '?'}.")
    return ui.page(name, lead, [ahead, ui.Section("blunders", "Blunders", blunders)])
