"""The monitoring of the tests: a real Prometheus and Alertmanager, what checks their files, and what tests ask of them."""
