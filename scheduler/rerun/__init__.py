"""Repeats dated runs and makes up for slots without one: selection, plan, execution."""
