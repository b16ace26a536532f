"""The relay as one file, `fleet-relay.pyz`: made, and unpacked."""
