"""Every file that we read, with where each value was typed; W3: the one room that knows YAML."""
