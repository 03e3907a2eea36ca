"""From a ConfigDict to objectives, data and whole runs; the only package that reads one."""
