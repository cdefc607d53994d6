"""`edgetwin cloud get, set, query, ...`: the commands that ask a running cloud over MQTT, from anywhere."""
