"""Hands runs over to other tools: what is exported of a run as values, and a module for each tool."""
