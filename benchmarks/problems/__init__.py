"""The problems that frameworks are compared on, by name, in the order of the table."""

from . import bundle, chain, cnn, gmm, gpt, hand, lstm, mlp, rows

PROBLEMS = {
    p.name: p
    for p in (
        chain.PROBLEM,
        mlp.SMALL,
        mlp.LARGE,
        rows.GELU,
        rows.NORM,
        cnn.PROBLEM,
        gpt.PROBLEM,
        gmm.PROBLEM,
        lstm.PROBLEM,
        bundle.PROBLEM,
        hand.PROBLEM,
    )
}
