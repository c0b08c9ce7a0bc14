"""What normal looks like: learn it from data, write it as a document, check a table against it.

`model` holds the types, `columns` and `learn` the one-pass learner, `tails` the arithmetic of the bounds, `fit` the
choice of bounds, `document` the YAML, `check` the request-time comparison, `show` the terminal's picture.
"""
