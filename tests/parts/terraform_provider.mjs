// Plays Genesys Cloud's Terraform provider: reads its block from a file of Terraform's with HashiCorp's own parser, fills it
// up from the environment as the provider's schema says (terraform_provider.json), fills the token pool, and calls the API
// once with each of its tokens. Prints what was answered, as one JSON object.
//
// Requests are those of the provider's SDK for Go: it logs in with the client's id and secret unless it was given an access
// token, goes to the gateway if the block names a host, and otherwise to the host of the region, in whose place the
// variable API stands here. Node's folder is that of the modules.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const { parse } = createRequire(`${process.cwd()}/`)('@cdktn/hcl2json');
const schema = JSON.parse(readFileSync(new URL('terraform_provider.json', import.meta.url), 'utf8'));
const file = process.argv[2];
const { terraform, provider } = await parse(file, readFileSync(file, 'utf8'));

function fail(message) {
  console.error(message);
  process.exit(1);
}

/** What is written, else the variable that the schema names. */
function filled(written, attributes) {
  return Object.fromEntries(
    Object.entries(attributes).map(([name, variable]) => [name, written[name] ?? process.env[variable] ?? '']),
  );
}

if (terraform[0].required_providers[0].genesyscloud.source !== 'mypurecloud/genesyscloud') fail('another provider');
const written = provider.genesyscloud[0];
const unknown = Object.keys(written).filter((name) => !(name in schema.attributes) && !(name in schema.blocks));
if (unknown.length > 0) fail(`the provider does not know ${unknown}`);
for (const [block, attributes] of Object.entries(schema.blocks)) {
  const strange = (written[block] ?? []).flatMap(Object.keys).filter((name) => !(name in attributes));
  if (strange.length > 0) fail(`${block} does not know ${strange}`);
}

const config = filled(written, schema.attributes);
const gateway = written.gateway ? filled(written.gateway[0], schema.blocks.gateway) : { host: '' };
if (!config.aws_region) fail('no region');
const base = gateway.host ? `${gateway.protocol}://${gateway.host}:${gateway.port}` : process.env.API;
const agent = { 'User-Agent': 'GC Terraform Provider/0.0.0', 'purecloud-sdk': '192.0.0' };

async function token() {
  if (config.access_token) return config.access_token;
  const basic = Buffer.from(`${config.oauthclient_id}:${config.oauthclient_secret}`).toString('base64');
  const headers = { ...agent, Authorization: `Basic ${basic}` };
  const body = new URLSearchParams({ grant_type: 'client_credentials' });
  const answer = await fetch(`${base}/oauth/token`, { method: 'POST', headers, body });
  if (answer.status !== 200) fail(`login: ${answer.status} ${await answer.text()}`);
  return (await answer.json()).access_token;
}

const statuses = [];
const tokens = new Set();
for (let member = 0; member < Number(config.token_pool_size || 10); member += 1) {
  const access = await token();
  tokens.add(access);
  const headers = { ...agent, Authorization: `Bearer ${access}` };
  statuses.push((await fetch(`${base}/api/v2/organizations/me`, { headers })).status);
}
console.log(JSON.stringify({ base, statuses, tokens: [...tokens] }));
// The parser is a Go program that goes on waiting for calls.
process.exit(0);
