"""Random countdown plays by the million: what the embedded reference policy is trained on.

A play is a sequence of legal random moves. *Solved* plays take the value they end in as their
target; *missed* plays carry another target, which makes them honest failures: every line is
true, the last one just does not meet the target. Trained on a mixture with a share ``m`` of
misses, a policy approaches the Bayes posterior ``(1 - m) * P(move | reaches target) + m *
P(move)``: it always writes true arithmetic and it fails by bad plans. Trained on solved plays
alone it learns that the last line always ends in the target, and lies.

Random plays visit problems with many solutions most often. `rarity` measures that and gives the
probability with which a solved play is kept, so that problems become more equally likely, as they
are in evaluation. Divisions that leave the integers are legal, but played only as often as the
mixture's `fraction_weight` says: by default never.

Everything is vectorised over a batch of plays: values are arrays of numerators and denominators.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from qstar_core.domains import countdown

Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

SPECIALS = ("<pad>", "<s>", "</s>", "<unk>", "\n", "+", "-", "*", "/", "=", "|", ">")
OPERATORS = (("+", False), ("-", False), ("*", False), ("/", False), ("/", True))
"""Operator, and whether the smaller number comes first."""
LEAST_WEIGHT = 1e-9  # so that a pair with nothing but a fraction to play has a move
FLATTEN_UP_TO = 4  # numbers per problem; the table of larger problems would not pay


def vocabulary() -> list[str]:
    """All words of the domain in token-id order: specials, integers, then reduced fractions."""
    integers = [str(n) for n in range(countdown.MAX_INTEGER + 1)]
    fractions = [
        f"{p}/{q}"
        for q in range(2, countdown.MAX_DENOMINATOR + 1)
        for p in range(1, countdown.MAX_NUMERATOR + 1)
        if Fraction(p, q).denominator == q
    ]
    return [*SPECIALS, *integers, *fractions]


def _id_table() -> Int:
    """Token id by [numerator, denominator]; 0 where the value is not representable."""
    table = np.zeros((countdown.MAX_INTEGER + 1, countdown.MAX_DENOMINATOR + 1), dtype=np.int64)
    for token, word in enumerate(vocabulary()):
        if word[0].isdigit():
            value = Fraction(word)
            table[value.numerator, value.denominator] = token
    return table


ID = _id_table()
TOKEN = {word: token for token, word in enumerate(SPECIALS)}


@dataclass(frozen=True)
class Mixture:
    """What plays to draw.

    Attributes:
        max_number, min_target, max_target: inclusive ranges.
        miss_share: share of honest misses.
        fraction_weight: how often a division ends in a fraction, beside the 1 of all other moves.
        left_out: problems of the user that no play may be of: numbers, largest first, and target.
    """

    max_number: int = 13
    min_target: int = 10
    max_target: int = 100
    miss_share: float = 0.3
    fraction_weight: float = 0.0
    left_out: frozenset[tuple[tuple[int, ...], int]] = frozenset()


def _combine(operator: str, lp: Int, lq: Int, rp: Int, rq: Int) -> tuple[Int, Int, Bool]:
    """Reduced numerators and denominators of ``l operator r`` and where they are representable."""
    if operator == "+":
        p, q = lp * rq + rp * lq, lq * rq
    elif operator == "-":
        p, q = lp * rq - rp * lq, lq * rq
    elif operator == "*":
        p, q = lp * rp, lq * rq
    else:
        p, q = lp * rq, lq * rp
    divisor = np.maximum(np.gcd(p, q), 1)
    p, q = p // divisor, q // divisor
    fits = (p >= 0) & (q > 0) & (p <= countdown.MAX_INTEGER) & (q <= countdown.MAX_DENOMINATOR)
    known = np.zeros_like(fits)
    known[fits] = ID[p[fits], q[fits]] > 0
    return np.where(known, p, 0), np.where(known, q, 1), known


def _sorted(p: Int, q: Int) -> tuple[Int, Int]:
    order = np.argsort(-(p / q), axis=1, kind="stable")
    return np.take_along_axis(p, order, 1), np.take_along_axis(q, order, 1)


def random_move(
    p: Int, q: Int, rng: np.random.Generator, fraction_weight: float
) -> tuple[Int, Int, Int, Bool]:
    """One random legal move per play.

    Args:
        p, q: numerators and denominators of the remaining numbers, [plays, m], largest first.
        rng: the stream of randomness.
        fraction_weight: of a division that does not end in an integer; others have 1. With 0 such
            a division is played where nothing else is legal.

    Returns:
        The m - 1 remaining numerators and denominators, the tokens ``a op b = c`` [plays, 5],
        and which plays had a legal move for the drawn pair.
    """
    plays, m = p.shape
    rows = np.arange(plays)
    i = rng.integers(0, m, plays)
    j = (i + rng.integers(1, m, plays)) % m
    i, j = np.minimum(i, j), np.maximum(i, j)  # i holds the larger value
    ap, aq, bp, bq = p[rows, i], q[rows, i], p[rows, j], q[rows, j]
    results, scores = [], np.full((plays, len(OPERATORS)), -np.inf)
    noise = rng.gumbel(size=scores.shape)
    for k, (operator, swapped) in enumerate(OPERATORS):
        operands = (bp, bq, ap, aq) if swapped else (ap, aq, bp, bq)
        cp, cq, known = _combine(operator, *operands)
        weight = np.ones(plays)
        if operator == "/":
            weight[cq > 1] = max(fraction_weight, LEAST_WEIGHT)
            if swapped:
                known &= (ap != bp) | (aq != bq)
        scores[:, k] = np.where(known, np.log(weight) + noise[:, k], -np.inf)
        results.append((cp, cq))
    choice = scores.argmax(axis=1)
    legal = np.isfinite(scores.max(axis=1))
    cp = np.stack([r[0] for r in results], 1)[rows, choice]
    cq = np.stack([r[1] for r in results], 1)[rows, choice]
    swap = choice == 4
    op_ids = np.array([TOKEN[o] for o, _ in OPERATORS])
    left, right = ID[ap, aq], ID[bp, bq]
    text = np.stack(
        [
            np.where(swap, right, left),
            op_ids[choice],
            np.where(swap, left, right),
            np.full(plays, TOKEN["="]),
            ID[cp, cq],
        ],
        1,
    )
    keep = np.ones((plays, m), dtype=bool)
    keep[rows, i] = keep[rows, j] = False
    rest_p = np.concatenate([p[keep].reshape(plays, m - 2), cp[:, None]], 1)
    rest_q = np.concatenate([q[keep].reshape(plays, m - 2), cq[:, None]], 1)
    return *_sorted(rest_p, rest_q), text, legal


def held_out(numbers: Int, target: Int, mixture: Mixture) -> Bool:
    """Which root problems belong to the test split, or are left out."""
    pairs = zip(numbers.tolist(), target.tolist(), strict=True)
    held = [
        countdown.split_of(n, t) == "test" or (tuple(n), t) in mixture.left_out for n, t in pairs
    ]
    return np.array(held, dtype=bool)


def _place(start: Int, target: Int, mixture: Mixture) -> Int:
    """Index of a problem in the table of `rarity`; ``start`` is sorted, [plays, n]."""
    base = (mixture.max_number + 1) ** np.arange(start.shape[1], dtype=np.int64)
    place: Int = (start * base).sum(axis=1) * (mixture.max_target + 1) + target
    return place


def rarity(
    n: int, mixture: Mixture, rng: np.random.Generator, plays: int, power: float
) -> npt.NDArray[np.float32]:
    """The probability to keep a solved play, by problem.

    It is ``min(1, (median / c) ** power)`` where c counts how often ``plays`` random plays solve
    the problem; problems never seen keep all their plays.
    """
    size = (mixture.max_number + 1) ** n * (mixture.max_target + 1)
    counts = np.zeros(size, dtype=np.int64)
    chunk = 50_000
    solved_only = replace(mixture, miss_share=0.0)
    for _ in range(max(1, plays // chunk)):
        ids = draw(chunk, n, solved_only, rng)
        numbers = ids[:, 1 : n + 1] - len(SPECIALS)
        target = ids[:, n + 2] - len(SPECIALS)
        np.add.at(counts, _place(numbers, target, mixture), 1)
    seen = counts > 0
    keep = np.ones(size, dtype=np.float32)
    keep[seen] = np.minimum(1.0, (np.median(counts[seen]) / counts[seen]) ** power)
    return keep


def draw(
    count: int,
    n: int,
    mixture: Mixture,
    rng: np.random.Generator,
    keep: npt.NDArray[np.float32] | None = None,
) -> Int:
    """About ``count`` plays as token ids, test problems left out.

    Args:
        count: plays drawn; illegal, out-of-range and held-out ones are dropped from them.
        n: numbers per problem.
        mixture: ranges and the share of misses.
        rng: the stream of randomness.
        keep: the table of `rarity`; None keeps all.

    Returns:
        Token ids [kept, length]: BOS, prompt, newline, n - 1 lines joined by newlines, EOS.
        The prompt is the first ``n + 4`` tokens.
    """
    start = np.sort(rng.integers(1, mixture.max_number + 1, (count, n)), axis=1)[:, ::-1]
    p, q = start.copy(), np.ones_like(start)
    ok = np.ones(count, dtype=bool)
    written: list[tuple[Int, Int]] = []
    for _ in range(n - 1):
        p, q, text, legal = random_move(p, q, rng, mixture.fraction_weight)
        ok &= legal
        written.append((text, ID[p, q]))
    end = p[:, 0]
    solved_range = (q[:, 0] == 1) & (end >= mixture.min_target) & (end <= mixture.max_target)
    kept = solved_range
    if keep is not None:
        place = _place(start, np.where(solved_range, end, mixture.min_target), mixture)
        kept = solved_range & (rng.random(count) < keep[place])
    miss = rng.random(count) < miss_rate(mixture, float(kept[ok].mean()))
    other = rng.integers(mixture.min_target, mixture.max_target + 1, count)
    target = np.where(miss, other, np.where(solved_range, end, mixture.min_target))
    ok &= miss | kept
    ok[ok] = ~held_out(start[ok], target[ok], mixture)
    goal = np.stack([np.full(count, TOKEN[">"]), ID[np.clip(target, 0, None), 1]], 1)
    column = {word: np.full((count, 1), token) for word, token in TOKEN.items()}
    parts = [column["<s>"], ID[start, 1], goal]
    for text, rest in written:
        parts += [column["\n"], text, column["|"], rest, goal]
    return np.concatenate([*parts, column["</s>"]], 1)[ok]


def miss_rate(mixture: Mixture, in_range: float) -> float:
    """The share of draws to turn into misses so that misses are ``miss_share`` of the kept plays.

    Only ``in_range`` of the other draws survive as solved plays.
    """
    m = mixture.miss_share
    return m * in_range / (m * in_range + (1 - m)) if m < 1 else 1.0
