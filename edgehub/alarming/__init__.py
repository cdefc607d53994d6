"""Alarms of the gateway: rules over its twins and itself, judged here, kept as twins, told on MQTT."""
