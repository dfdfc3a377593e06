"""Benchmark runs as one HTML page."""
