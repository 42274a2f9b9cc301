"""How fast wanlab is, measured side by side with what else makes such a lab: `python -m benchmarks`."""
