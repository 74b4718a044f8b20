"""Hostile configurations, stores, kills, output and arrays, made at random from a seed, and what holds beside them."""
