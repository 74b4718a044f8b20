"""What an expression of crontab or Airflow means there, what to type here, and how the two differ: values in, values out."""

from __future__ import annotations

from scheduler.dialects.advice import Advice, DifferingDate, advise, coming, read
from scheduler.dialects.reading import Dialect, DialectError, Reading

__all__ = ["Advice", "Dialect", "DialectError", "DifferingDate", "Reading", "advise", "coming", "read"]
