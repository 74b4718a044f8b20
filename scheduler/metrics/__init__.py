"""Metrics of experiments for Prometheus, from their stores alone: values, their text, and what is made of them there."""
