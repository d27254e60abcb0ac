"""docs/reproduction.md: what runs found, number by number, beside what the paper and the slides say.

    python -m experiments.reproduction [--check]

Reads tables under experiments/results, which `bnonly experiment draw NAME --to` left there, and fills the page's own;
what stands between them is written by hand. --check writes nothing and fails if the page would change.
"""
