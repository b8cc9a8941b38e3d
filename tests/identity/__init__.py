"""Single sign-on against a real identity provider: oidc-provider of npm, which is OpenID Certified."""
