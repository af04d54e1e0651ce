"""Checks documents against a JSON Schema: `schema.py SCHEMA DOCUMENTS`, both files of JSON.

DOCUMENTS is a list of {"name", "valid", "document"}; each must be valid or not as it says.
"""

import json
import sys

import jsonschema


def main():
    with open(sys.argv[1]) as schema, open(sys.argv[2]) as documents:
        schema, documents = json.load(schema), json.load(documents)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    wrong = 0
    for case in documents:
        errors = [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(case["document"])]
        if (not errors) != case["valid"]:
            wrong += 1
            print(case["name"], "is to be", "valid:" if case["valid"] else "invalid, but is not", *errors, sep="\n  ")
    print(len(documents), "documents")
    sys.exit(1 if wrong else 0)


main()
