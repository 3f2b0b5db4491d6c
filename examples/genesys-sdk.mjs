// Genesys Cloud's JavaScript library through a gateway, as it is: only its settings file knows
// (genesys-sdk-config.ini).
//
// The program logs in as it would at Genesys Cloud. What it gets is a handle of the gateway that works nowhere else;
// the real token stays there and is renewed there.

import { createRequire } from 'node:module';

const genesys = createRequire(`${process.cwd()}/`)('purecloud-platform-client-v2');

const client = genesys.ApiClient.instance;
await client.loginClientCredentialsGrant(process.env.GENESYS_CLOUD_CLIENT_ID, process.env.GENESYS_CLOUD_CLIENT_SECRET);
await new genesys.OrganizationApi().getOrganizationsMe();
console.log('the call worked with', `${client.authData.accessToken.slice(0, 4)}...`);
process.exit(0);
