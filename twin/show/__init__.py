"""How twins, events and answers look on a terminal; shared by the commands of the gateway and of the cloud."""
