// An identity provider for tests: oidc-provider with its own sign-in page. It prints what the tests wait for.
// Usage: node provider.mjs CONFIG; CONFIG is JSON with port, keys, redirect_uri, logout_uri, roles and secret.
import { Provider } from "oidc-provider";

const { port, issuer, keys, redirect_uri, logout_uri, roles, secret } = JSON.parse(process.argv[2]);

/** The lifetime of the access tokens of each audience, in seconds. */
const AUDIENCES = { "urn:cxrserve": 600, "urn:other": 600, "urn:expired": 1 };

const client = (client_id) => ({
  client_id,
  client_secret: secret,
  grant_types: ["client_credentials"],
  redirect_uris: [],
  response_types: [],
});

const provider = new Provider(issuer, {
  jwks: { keys },
  clients: [
    ...Object.keys(roles).map(client),
    { client_id: "viewer", client_secret: secret, redirect_uris: [redirect_uri], post_logout_redirect_uris: [logout_uri] },
    {
      client_id: "public-viewer",
      token_endpoint_auth_method: "none",
      redirect_uris: [redirect_uri],
      post_logout_redirect_uris: [logout_uri],
    },
  ],
  pkce: { required: () => true },
  conformIdTokenClaims: false, // roles are in the ID token, as an administrator configures it elsewhere
  claims: { openid: ["sub"], profile: ["roles"] },
  cookies: { keys: ["tests"] },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, roles: roles[id] ?? [] }) }),
  extraTokenClaims: (_, token) => ({ roles: roles[token.clientId] ?? [] }),
  features: {
    devInteractions: { enabled: true },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_, indicator) => ({
        scope: "",
        audience: indicator,
        accessTokenFormat: "jwt",
        accessTokenTTL: AUDIENCES[indicator],
      }),
    },
  },
});

provider.use(async (context, next) => {
  await next();
  console.log(`${context.method} ${context.path} ${context.status}`);
});
provider.listen(port, "127.0.0.1", () => console.log("ready"));
