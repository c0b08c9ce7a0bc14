"""What normal looks like: learn it from data, write it as a document, check a table against it.

`model` holds the types. Learning in one pass: `columns` is what is read, `summary` with `numbers`, `texts`, `shapes`, `sketches` and
`reservoir` what is kept of it, `state` and `parts` how that is merged, `kinds`, `fit` and `bounds` the choice of facts and bounds, `tails`
their arithmetic, `calibrate` and `loosest` what the held-back rows say, `joint_fit` and `cells_fit` what else is learned; `learn` puts it together.
Then: `document` the YAML, `check` and `joint` the request-time comparison, `cells` how live traffic is counted, `show` the terminal's picture.
"""
