"""The commands of the command line, one a file: what it offers (`parser`) and what it does (`run`)."""
