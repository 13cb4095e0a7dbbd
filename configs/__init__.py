"""Configs: `default` holds every key, the others state only what differs."""
