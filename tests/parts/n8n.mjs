// Reads a workflow and its credentials as n8n does: with its own code, and with what it says of its nodes and credentials.
//
// Called with the folder of n8n's descriptions and the two files. Every parameter must be one that n8n knows and shows for
// the others' values, every choice one that it offers, every required one there, and every credential one that is in the
// file. Prints for each node that calls something what it calls, as JSON. Node's folder is that of the modules.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const { NodeHelpers, Workflow } = createRequire(`${process.cwd()}/`)('n8n-workflow');
const [, , folder, workflowFile, credentialsFile] = process.argv;
const read = (path) => JSON.parse(readFileSync(path, 'utf8'));
const types = read(`${folder}/nodes.json`);
const credentialTypes = read(`${folder}/credentials.json`);
const definition = read(workflowFile);
const credentials = read(credentialsFile);
const wrong = [];

/** What n8n says of a node of this type and version. */
function describe(name, version) {
  const found = types.filter((type) => `n8n-nodes-base.${type.name.replace('n8n-nodes-base.', '')}` === name);
  return found.find((type) => [type.version].flat().includes(version));
}

/** Is all that is written in what n8n makes of it? */
function isKept(written, kept, place) {
  if (written === null || typeof written !== 'object') {
    if (written !== kept) wrong.push(`${place}: n8n has no such parameter here`);
    return;
  }
  for (const [name, value] of Object.entries(written)) isKept(value, kept?.[name], `${place}.${name}`);
}

function checkChoices(properties, values, place) {
  for (const { name, type, options } of properties) {
    if (type === 'options' && values[name] !== undefined && !options.some(({ value }) => value === values[name])) {
      wrong.push(`${place}.${name}: n8n does not offer ${values[name]}`);
    }
  }
}

const nodeTypes = {
  getByNameAndVersion: (name, version) => ({ description: describe(name, version) }),
  getKnownTypes: () => ({}),
};
for (const node of definition.nodes) {
  const description = describe(node.type, node.typeVersion);
  if (!description) throw new Error(`n8n has no ${node.type} ${node.typeVersion}`);
  const { properties } = description;
  const kept = NodeHelpers.getNodeParameters(properties, node.parameters, true, false, node, description);
  isKept(node.parameters, kept, node.name);
  const shown = properties.filter((one) => NodeHelpers.displayParameter(kept, one, node, description));
  checkChoices(shown, kept, node.name);
  const issues = NodeHelpers.getNodeParametersIssues(properties, { ...node, parameters: kept }, description);
  wrong.push(...Object.values(issues?.parameters ?? {}).flat());
}
for (const { name, type, data } of credentials) {
  const { properties } = credentialTypes.find((one) => one.name === type);
  const filled = { ...Object.fromEntries(properties.map((one) => [one.name, one.default])), ...data };
  const shown = properties.filter((one) => NodeHelpers.displayParameter(filled, one, null, null));
  const unknown = Object.keys(data).filter((key) => !shown.some((one) => one.name === key));
  if (unknown.length > 0) wrong.push(`${name}: n8n does not ask for ${unknown}`);
  checkChoices(shown, data, name);
}

const workflow = new Workflow({ ...definition, nodeTypes });
const calls = [];
for (const node of Object.values(workflow.nodes).filter((one) => one.parameters.url)) {
  const [[type, named]] = Object.entries(node.credentials);
  const found = credentials.find((one) => one.type === type && one.id === named.id && one.name === named.name);
  if (!found || node.parameters.genericAuthType !== type) wrong.push(`${node.name}: its credential is not in the file`);
  if (workflow.getParentNodes(node.name).length === 0) wrong.push(`${node.name}: nothing leads to it`);
  calls.push({ url: node.parameters.url, method: node.parameters.method, credential: found?.data });
}
if (wrong.length > 0) {
  console.error(wrong.join('\n'));
  process.exit(1);
}
console.log(JSON.stringify(calls));
process.exit(0);
