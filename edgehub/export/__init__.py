"""What our processes tell Prometheus, sent to OpenTelemetry by a process of its own."""
