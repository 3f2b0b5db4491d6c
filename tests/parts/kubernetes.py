"""Checks objects of Kubernetes against the schemas of one of its versions, in which no unknown field is allowed.

Called with the folder of the schemas; reads a JSON array of objects. Prints what is wrong, one line each.
"""

import json
import sys
from pathlib import Path

import jsonschema
import referencing

folder = Path(sys.argv[1])


def schema(name):
    return json.loads((folder / name).read_text())


def retrieve(uri):
    """Finds a schema that another one names, by the file's name or by an address that ends with it."""
    return referencing.Resource.from_contents(schema(uri.rpartition("/")[2]))


registry = referencing.Registry(retrieve=retrieve)
wrong = 0
for found in json.load(sys.stdin):
    group, _, version = found["apiVersion"].rpartition("/")
    name = "-".join(filter(None, [found["kind"].lower(), group.split(".")[0], version])) + ".json"
    rules = schema(name)
    validator = jsonschema.validators.validator_for(rules)
    for error in validator(rules, registry=registry).iter_errors(found):
        print(f"{found['kind']} {found['metadata']['name']}: {error.json_path}: {error.message}")
        wrong += 1
sys.exit(1 if wrong else 0)
