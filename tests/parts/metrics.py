"""Judges a gateway's metrics, alert rules and Grafana dashboard with the parsers of their makers.

Called with the address of an admin listener and the folder `deploy`. Prints what it looked at as one JSON object; ends
with an error that names the first thing that is wrong.
"""

import json
import re
import sys
import urllib.request
from pathlib import Path

import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

admin, deploy = sys.argv[1], Path(sys.argv[2])
STARS = re.compile(r"`([^`]+)`")
NAME = re.compile(r"\bevergrant_[a-z0-9_]+\b")
# Told one by one, or a second time for the first listener.
NOT_METRICS = re.compile(r"^(listeners|events|recent_verdicts)\.|^gateway\.latency\.buckets\.")
# These move between two answers.
MOVING = re.compile(r"(_in_s|age_s|uptime_s|recent\..*|lo|hi|_opens_in_s)$")


def get(path):
    with urllib.request.urlopen(f"{admin}{path}", timeout=20) as answer:
        return answer.read().decode()


def numbers(value, path=()):
    """Every number and yes-or-no of a status, by its path; an element of a list is named by its source."""
    if isinstance(value, (bool, int, float)):
        yield ".".join(path), float(value)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers(inner, (*path, key))
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            name = inner.get("source", str(at)) if isinstance(inner, dict) else str(at)
            yield from numbers(inner, (*path, name))


def place_of(pattern, path):
    """Does a path fit a pattern, in which a star stands for one name?"""
    parts, names = pattern.split("."), path.split(".")
    return len(parts) <= len(names) and all(part in ("*", name) for part, name in zip(parts, names))


status = json.loads(get("/status"))
text = get("/metrics")
families = {family.name: family for family in text_string_to_metric_families(text)}
profile = status["listeners"][0]["profile"]

compared = 0
for path, value in numbers(status):
    if NOT_METRICS.match(path):
        continue
    named = [f for f in families.values() for pattern in STARS.findall(f.documentation) if place_of(pattern, path)]
    if not named:
        sys.exit(f"no metric holds {path} of the status")
    if any(family.type == "histogram" for family in named):
        continue
    values = [s.value for f in named for s in f.samples if s.labels.get("profile", profile) == profile]
    if not MOVING.search(path) and value not in values:
        sys.exit(f"{path} is {value} in the status, and {named[0].name} says {values}")
    compared += 1

# The names that a query may use: with the suffixes that samples carry.
known = set(families) | {sample.name for family in families.values() for sample in family.samples}

rules = [rule for group in yaml.safe_load((deploy / "prometheus/alerts.yaml").read_text())["groups"] for rule in group["rules"]]
for rule in rules:
    missing = set(NAME.findall(rule["expr"])) - known
    if missing:
        sys.exit(f"the alert {rule['alert']} asks for {missing}")
    if not {"summary", "description"} <= rule["annotations"].keys():
        sys.exit(f"the alert {rule['alert']} does not say what to do")

board = json.loads((deploy / "grafana/evergrant.json").read_text())
queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
queries += [note["expr"] for note in board["annotations"]["list"]]
queries += [v["query"]["query"] for v in board["templating"]["list"] if v["type"] == "query"]
for query in queries:
    missing = set(NAME.findall(query)) - known
    if missing:
        sys.exit(f"the Grafana query {query} asks for {missing}")

print(json.dumps({"families": len(families), "compared": compared, "alerts": len(rules), "queries": len(queries)}))
