"""The gateway: hub, broker, registry, twins and the command line."""
