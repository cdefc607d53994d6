"""Readings on their way to other systems, at least once: http, mqtt, influxdb2, otel, and those of others."""
