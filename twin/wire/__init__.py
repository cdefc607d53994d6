"""The contract of edge and cloud: topics, messages and the one strict codec."""
