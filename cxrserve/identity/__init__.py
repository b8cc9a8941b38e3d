"""Identity of HTTP clients: named tokens, single sign-on by OpenID Connect, and sessions of the viewer.

clients.py         named clients with scopes
code_flow.py       the viewer's sign-in
oidc_config.py     the configuration of single sign-on
provider.py        the identity provider's endpoints and signing keys, fetched over HTTP and cached
sessions.py        sessions of signed-in users, in memory
single_sign_on.py  single sign-on
tokens.py          validation of the identity provider's tokens
"""
