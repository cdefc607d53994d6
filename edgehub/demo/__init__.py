"""The demo plant: a small piece of the outside world that a gateway can try itself on."""
