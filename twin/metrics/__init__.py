"""Metrics for Prometheus: what there is, how it is counted, and the text that is served. The same on both sites."""
