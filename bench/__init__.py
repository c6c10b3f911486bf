"""What an answer costs, beside what people would run instead; docs/benchmarks.md describes it."""
