"""Configs: one file per trained stage, each with `get_config(variant)`."""
