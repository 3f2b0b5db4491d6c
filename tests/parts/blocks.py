"""Reads the blocks of code that pages show with the parsers of their languages: a file of JSON names them."""

import ast
import configparser
import csv
import json
import sys
import xml.etree.ElementTree

import yaml


def parse(language: str, text: str) -> None:
    if language == "python":
        ast.parse(text)
    elif language == "yaml":
        if not [part for part in yaml.safe_load_all(text) if part is not None]:
            raise ValueError("nothing is in it")
    elif language == "ini":
        # Units of systemd name a key more than once, and a line may stand without its section.
        reader = configparser.ConfigParser(strict=False, interpolation=None)
        reader.optionxform = str
        reader.read_string(text if text.lstrip().startswith(("[", "#", ";")) else "[part]\n" + text)
        if not any(reader.items(section) for section in reader.sections()):
            raise ValueError("nothing is in it")
    elif language == "xml":
        xml.etree.ElementTree.fromstring(text)
    elif language == "csv":
        rows = list(csv.reader(text.splitlines(), strict=True))
        if len({len(row) for row in rows}) != 1:
            raise ValueError("rows differ in length")
    else:
        raise ValueError(f"no parser for {language}")


with open(sys.argv[1], encoding="utf-8") as file:
    blocks = json.load(file)
failed = False
for block in blocks:
    try:
        parse(block["language"], block["text"])
    except Exception as error:  # each parser has errors of its own, and each of them is told
        failed = True
        print(f"{block['place']}: {block['language']}: {error}")
sys.exit(failed)
