"""Pictures for the docs, drawn from what `python -m benchmarks broker --json` prints."""
