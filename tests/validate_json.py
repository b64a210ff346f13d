#!/usr/bin/env python3
"""validate_json.py SCHEMA REPORT...: do these reports follow the schema, and would it notice a lost field?

Each report must validate. Then every required field of every object in it is renamed in turn, and every number
replaced by a word: the schema must refuse each of these, or it checks less than it says.
"""
import copy
import json
import sys

import jsonschema


def load(path):
    with open(path, encoding="utf-8", errors="strict") as file:
        return json.load(file, parse_constant=lambda word: sys.exit(f"{path}: {word} is not JSON"))


def first_items(node):
    """The document with one item in every list of objects (and of points): the others have the same schema."""
    if isinstance(node, dict):
        return {key: first_items(value) for key, value in node.items()}
    if isinstance(node, list) and node and isinstance(node[0], (dict, list)):
        return [first_items(node[0])]
    return node


def places(node, path=()):
    """Every (path to an object, key)."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield path, key
            yield from places(value, path + (key,))
    elif isinstance(node, list) and node:
        yield from places(node[0], path + (0,))


def at(node, path):
    for step in path:
        node = node[step]
    return node


# Fields that the schema lets a report leave out (interface: "?", and what was added to it).
OPTIONAL = {"expert", "curve", "control_curves", "normalize"}


def optional(path, key):
    return key in OPTIONAL or (key == "alpha" and path[-2:-1] in (("controls",), ("self_checks",)))


def main(schema_path, *reports):
    schema = load(schema_path)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    missed = mutants = 0
    for report in reports:
        document = load(report)
        errors = sorted(validator.iter_errors(document), key=str)
        for error in errors[:10]:
            print(f"{report}: {'/'.join(map(str, error.absolute_path))}: {error.message[:300]}")
        missed += len(errors)
        document = first_items(document)
        for path, key in places(document):
            value = at(document, path)[key]
            changes = []
            if not optional(path, key):
                changes.append("renamed")
            if isinstance(value, (int, float)) and not (path[-2:-1] == ("where",) and key == "layer"):
                changes.append("a word")
            for change in changes:
                mutant = copy.deepcopy(document)
                holder = at(mutant, path)
                if change == "renamed":
                    holder[key + "_renamed"] = holder.pop(key)
                else:
                    holder[key] = "a word"
                mutants += 1
                if validator.is_valid(mutant):
                    print(f"{report}: {'/'.join(map(str, path))}: {key} {change} is not noticed")
                    missed += 1
    print(f"{len(reports)} reports, {mutants} damaged copies, {missed} problems")
    return 1 if missed or not reports else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
