"""The review page: people look at the most suspect labels, decide, and their decisions are versioned data.

`python -m review` serves one page to browsers on this machine. What a person decides is a line in
reviews/decisions.csv, which stage `pseudo_label` reads; the page writes nothing else.
"""
