"""Makes kubeconform's schemas from the OpenAPI file in Kubernetes' own module.

Usage: schemas.py swagger.json FOLDER
"""

import json
import sys
from pathlib import Path

DEFINITIONS = "definitions.json"


def strict(schema: dict) -> dict:
    """Refuse fields that the API does not know: they are typing mistakes, and the API server drops them."""
    if "$ref" in schema:
        return {"$ref": DEFINITIONS + schema["$ref"]}
    if schema.get("format") == "int-or-string":
        return {"type": ["integer", "string"]}
    schema = {name: value for name, value in schema.items() if not name.startswith("x-")}
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            schema[name] = strict(schema[name])
    if "properties" in schema:
        schema["properties"] = {name: strict(value) for name, value in schema["properties"].items()}
        schema.setdefault("additionalProperties", False)
    return schema


def main(swagger: Path, folder: Path) -> None:
    """Write one file of definitions, and one per kind that points into it."""
    definitions = json.loads(swagger.read_text())["definitions"]
    special = {
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"type": ["integer", "string"]},
        "io.k8s.apimachinery.pkg.api.resource.Quantity": {"type": ["number", "string"]},
    }
    folder.mkdir(parents=True, exist_ok=True)
    strict_ones = {name: special.get(name) or strict(schema) for name, schema in definitions.items()}
    for name, schema in definitions.items():
        for kind in schema.get("x-kubernetes-group-version-kind", []):
            group = kind["group"].split(".")[0]
            parts = [kind["kind"].lower(), group, kind["version"]]
            pointer = {"$ref": f"{DEFINITIONS}#/definitions/{name}"}
            (folder / ("-".join(part for part in parts if part) + ".json")).write_text(json.dumps(pointer))
    (folder / DEFINITIONS).write_text(json.dumps({"definitions": strict_ones}))


main(Path(sys.argv[1]), Path(sys.argv[2]))
