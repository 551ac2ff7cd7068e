"""Rows of the tables that the benchmark prints."""

import statistics


def row(what: str, value: str, how: str) -> None:
    """One row of the table."""
    print(f"| {what} | {value} | {how} |", flush=True)


def spread(values: list[float]) -> str:
    """Median and ninety-fifth percentile in milliseconds."""
    ordered = sorted(values)
    return f"p50 {statistics.median(ordered) * 1000:.0f} ms, p95 {ordered[int(len(ordered) * 0.95) - 1] * 1000:.0f} ms"
