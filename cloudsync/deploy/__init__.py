"""What deploys a cloud: HAProxy before several brokers, systemd units. docs/scale.md explains them."""
