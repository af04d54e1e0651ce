"""Checks Kubernetes objects against the schemas of `tests/crds`: `crds.py SCHEMAS CASES`.

CASES is a file of JSON, a list of {"name", "valid", "objects"}; all objects of a case must be valid, or one of them not,
as it says. As `kubectl` does, it refuses fields that a schema does not know. Rules in CEL are not checked.
"""

import json
import pathlib
import re
import sys

import jsonschema

NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def strict(schema):
    """The schema, with no fields but those that it lists, where it lists any."""
    if not isinstance(schema, dict):
        return schema
    out = dict(schema)
    if "properties" in out:
        out["properties"] = {name: strict(inner) for name, inner in out["properties"].items()}
        if not out.get("x-kubernetes-preserve-unknown-fields"):
            out.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if isinstance(out.get(key), dict):
            out[key] = strict(out[key])
    return out


def validator(schemas, kinds, object_):
    group, version = object_["apiVersion"].split("/")
    key = f"{group}.{version}.{object_['kind']}"
    if key not in kinds:
        schema = json.loads((schemas / f"{key}.json").read_text())
        # Every object has these, whether its schema says so or not.
        schema["properties"].update({field: {} for field in ("apiVersion", "kind", "metadata")})
        # OpenAPI 3.0 is made of this draft.
        kinds[key] = jsonschema.Draft4Validator(strict(schema))
    return kinds[key]


def errors(schemas, kinds, object_):
    for error in validator(schemas, kinds, object_).iter_errors(object_):
        yield f"{object_['kind']}: {error.json_path}: {error.message[:300]}"
    for field in ("name", "namespace"):
        if not NAME.fullmatch(object_["metadata"].get(field, "")):
            yield f"{object_['kind']}: metadata.{field}: {object_['metadata'].get(field)!r}"


def main():
    schemas, kinds, wrong, count = pathlib.Path(sys.argv[1]), {}, 0, 0
    for case in json.loads(pathlib.Path(sys.argv[2]).read_text()):
        count += len(case["objects"])
        found = [error for object_ in case["objects"] for error in errors(schemas, kinds, object_)]
        if (not found) != case["valid"]:
            wrong += 1
            print(case["name"], "is to be", "valid:" if case["valid"] else "invalid, but is not", *found, sep="\n  ")
    print(count, "objects")
    sys.exit(1 if wrong else 0)


main()
