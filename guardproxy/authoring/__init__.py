"""Tools for people who write rules: text in, text out. Pure; reading and writing files is left to the commands."""
