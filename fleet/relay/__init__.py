"""The relay: a store-and-forward daemon that knows its rendered file, not the fleet."""
