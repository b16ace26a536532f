"""SSH by paramiko, and only here; the reading of ssh_config beside it knows no paramiko."""
