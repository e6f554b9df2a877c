"""Any readable model as a torch network that runs one decoder layer at a time: `core.network.network.open_network`."""
