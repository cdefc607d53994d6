"""Kubernetes as the source of truth: gateways are nodes, pods bound to them run there, devices are custom resources."""
