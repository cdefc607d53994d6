"""The engine that has containers run by podman."""
