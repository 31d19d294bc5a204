"""Talking to Mailchimp: a `Call` in, a `Result` out. Knows nothing of Django, a database, settings or consent.

`key` reads an API key; `calls` says what may be asked of Mailchimp and `client` asks it, at the pace of `pace`
over the `wire`; what comes back is a value of `member` or `result`, or an error of the tree in `errors`.
"""
