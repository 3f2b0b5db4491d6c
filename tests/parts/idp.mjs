// A certified OAuth server and an API that trusts it, in one process with one calendar clock.
//
// The tests run it under libfaketime, so that "the provider's clock" can be wrong and can step while it runs. Access
// tokens are JWTs with a short life. The API checks them as strict APIs do: signature, issuer, audience, `exp`, and an
// `iat` in the future is refused. Its 401s carry the challenge of RFC 6750 section 3.
//
// A person may log in as well, in a browser or with a code of another device: as `ada` with any password, on the server's
// own pages. The client `keyed` shows a JWT signed by its key instead of a secret.
//
// Settings come from the environment: NODE_PARTS (the folder with node_modules), TOKEN_SECS, and SPOIL, which makes the
// token endpoint hand out tokens with one fault: `foreign_key`, `alg_none`, `changed` or `audience`. The first line on
// standard output is a JSON object with the addresses and a refresh token that nobody has used yet. `GET /stats` of the
// API counts what it answered and what the token endpoint issued. The process ends when its standard input does.

import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const parts = createRequire(join(process.env.NODE_PARTS, 'package.json'));
const load = (name) => import(pathToFileURL(parts.resolve(name)).href);
const { Provider } = await load('oidc-provider');
const jose = await load('jose');

const RESOURCE = 'urn:evergrant:api';
const SCOPE = 'api:read';
const TOKEN_SECS = Number(process.env.TOKEN_SECS);
const FUTURE_LEEWAY_SECS = 2;

const stats = { accepted: 0, refused: {}, tokens: 0, token_errors: {} };
const count = (table, key) => { table[key] = (table[key] ?? 0) + 1; };

const listen = (server) => new Promise((resolve) => {
  server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${server.address().port}`));
});

const authServer = createServer();
const issuer = await listen(authServer);

const { privateKey, publicKey } = await jose.generateKeyPair('RS256', { extractable: true });
const key = { ...await jose.exportJWK(privateKey), kid: 'one', use: 'sig', alg: 'RS256' };

const clientPair = await jose.generateKeyPair('ES256', { extractable: true });
const clientKey = { ...await jose.exportJWK(clientPair.publicKey), kid: 'client-key', use: 'sig', alg: 'ES256' };

const provider = new Provider(issuer, {
  jwks: { keys: [key] },
  clients: [
    {
      client_id: 'robot', client_secret: 'robot-secret', token_endpoint_auth_method: 'client_secret_basic',
      grant_types: ['client_credentials'], redirect_uris: [], response_types: [], scope: SCOPE,
    },
    {
      client_id: 'person', client_secret: 'person-secret', token_endpoint_auth_method: 'client_secret_basic',
      grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
      redirect_uris: ['http://127.0.0.1/callback'], application_type: 'native',
      scope: `openid offline_access ${SCOPE}`,
    },
    {
      client_id: 'keyed', token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: 'ES256',
      jwks: { keys: [clientKey] }, grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
      scope: SCOPE,
    },
  ],
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  scopes: ['openid', 'offline_access', SCOPE],
  rotateRefreshToken: true,
  ttl: { AccessToken: TOKEN_SECS, ClientCredentials: TOKEN_SECS, RefreshToken: 86_400, Grant: 86_400, IdToken: 60 },
  features: {
    devInteractions: { enabled: true },
    deviceFlow: { enabled: true },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => RESOURCE,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: SCOPE, audience: RESOURCE, accessTokenTTL: TOKEN_SECS, accessTokenFormat: 'jwt',
        jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
});
// Each makes another token of a good one.
const SPOILERS = {
  foreign_key: async (claims) => {
    const other = await jose.generateKeyPair('RS256');
    return new jose.SignJWT(claims).setProtectedHeader({ alg: 'RS256', typ: 'at+jwt', kid: 'other' }).sign(other.privateKey);
  },
  alg_none: async (claims) => `${encoded({ alg: 'none', typ: 'at+jwt' })}.${encoded(claims)}.`,
  changed: async (claims, token) => token.split('.').with(1, encoded({ ...claims, scope: 'everything' })).join('.'),
  audience: async (claims) => new jose.SignJWT({ ...claims, aud: 'urn:somebody:else' })
    .setProtectedHeader({ alg: 'RS256', typ: 'at+jwt', kid: 'one' }).sign(privateKey),
};
const encoded = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
provider.use(async (ctx, next) => {
  await next();
  const spoil = SPOILERS[process.env.SPOIL];
  if (spoil && ctx.path === '/token' && ctx.body?.access_token) {
    ctx.body = { ...ctx.body, access_token: await spoil(jose.decodeJwt(ctx.body.access_token), ctx.body.access_token) };
  }
});
provider.on('grant.success', () => { stats.tokens += 1; });
provider.on('grant.error', (ctx, error) => count(stats.token_errors, error.error_description ?? error.message));
provider.on('server_error', (ctx, error) => count(stats.token_errors, error.message));
authServer.on('request', provider.callback());

// What a person's login in a browser would have left behind: consent, and the refresh token that came with it.
async function firstRefreshToken() {
  const client = await provider.Client.find('person');
  const grant = new provider.Grant({ accountId: 'ada', clientId: 'person' });
  grant.addOIDCScope('openid offline_access');
  grant.addResourceScope(RESOURCE, SCOPE);
  const token = new provider.RefreshToken({
    accountId: 'ada', client, grantId: await grant.save(), gty: 'authorization_code', claims: {},
    authTime: Math.floor(Date.now() / 1000), iiat: Math.floor(Date.now() / 1000),
    resource: RESOURCE, scope: `openid offline_access ${SCOPE}`, rotations: 0,
  });
  return token.save();
}

// Returns why the API refuses a request, or nothing.
async function refusal(authorization) {
  const [, token] = /^Bearer (.+)$/i.exec(authorization ?? '') ?? [];
  if (!token) return { reason: 'no token', challenge: 'Bearer' };
  try {
    const { payload } = await jose.jwtVerify(token, publicKey, { issuer, audience: RESOURCE, typ: 'at+jwt' });
    if (payload.iat > Date.now() / 1000 + FUTURE_LEEWAY_SECS) throw new Error('issued in the future');
    return undefined;
  } catch (error) {
    const challenge = `Bearer error="invalid_token", error_description="${error.message.replaceAll('"', "'")}"`;
    return { reason: error.message, challenge };
  }
}

const api = createServer(async (request, response) => {
  const answer = (status, body, headers = {}) => {
    response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store', ...headers });
    response.end(JSON.stringify(body));
  };
  let body = 0;
  for await (const chunk of request) body += chunk.length;
  if (request.url === '/stats') return answer(200, stats);
  const refused = await refusal(request.headers.authorization);
  if (refused) {
    count(stats.refused, refused.reason);
    return answer(401, { message: refused.reason }, { 'www-authenticate': refused.challenge });
  }
  stats.accepted += 1;
  return answer(200, { method: request.method, path: request.url, body });
});

console.log(JSON.stringify({
  issuer, token_url: `${issuer}/token`, api: await listen(api), resource: RESOURCE,
  refresh_token: await firstRefreshToken(), client_key: await jose.exportPKCS8(clientPair.privateKey),
}));
process.stdin.resume().on('end', () => process.exit(0));
