"""Chaos: configurations, stores, processes, output and arrays that mean harm, made at random from a seed, and what holds beside them."""
