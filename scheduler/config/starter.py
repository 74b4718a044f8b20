"""The commented starter that `init` writes."""

from __future__ import annotations

from scheduler.config.schema import SCHEMA_FILE


def starter() -> str:
    """The text of the starter."""
    return f"""\
# yaml-language-server: $schema=./{SCHEMA_FILE}
# (The line above lets editors complete the keys; `cronsemble schema` prints that file.)
experiment: digits               # a DNS label; run ids begin with it
timezone: UTC                    # an IANA zone for schedules and dates
store: ./store                   # everything that runs produce; on a cluster e.g. {{claim: NAME}}, see docs/kubernetes.md
data:
  dataset: digits                # digits | cifar10 | mnist | FILE.npz | file.py:function
  predict: holdout               # or inputs/{{date}}.npz
model: cnn                       # cnn | mlp | file.py:function
hyperparameters: {{epochs: 10, batch_size: 32, patience: 2}}
backends:
  tensorflow: {{schedule: "0 1 * * *"}}
  jax:        {{schedule: "0 1 * * *", hyperparameters: {{learning_rate: 0.002}}}}
  # theano and cntk need the legacy image; see docs/runtimes.md
  # theano:   {{schedule: "30 1 * * *"}}
ensemble: {{schedule: "0 6 * * *", method: accuracy, quorum: 1, max_age: 36h, wait: 2h}}
# Who is told when a run fails, or never starts: `cronsemble notify --test` sends a sample; see docs/notifications.md
# notify: {{channels: {{desk: {{command: [notify-send, Cronsemble]}}}}}}
# Looks after it every ten minutes: a report page and metrics in the store; on a cluster it tells, too; see docs/watch.md
# watch: {{}}
"""
