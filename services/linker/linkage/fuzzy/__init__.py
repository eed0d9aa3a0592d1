"""Linking records without a CPR number: encoded fields in, the person each record most likely is out.

`linking.link` is the whole of it. The stages: `encodings` (what came, as numbers), `blocking` (which pairs are looked
at), `comparison` (how alike their fields are), `chance` (how alike strangers are), `fitting` (the model), `scoring`,
`assignment`, `estimates` (how good it is, without the truth), `evaluation` (with it).
"""
