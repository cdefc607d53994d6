"""The kernel shared by edge and cloud: words, documents, merge, store, wire messages and the MQTT link."""
