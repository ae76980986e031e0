"""What infra/template.yaml says of its parameters, and of what a stack leaves behind."""

from pathlib import Path

import yaml

PROJECT = Path(__file__).resolve().parents[2]
TEMPLATE = PROJECT / "infra/template.yaml"


class Intrinsics(yaml.SafeLoader):
    """Reads a template without minding !Ref and the like."""


Intrinsics.add_multi_constructor("!", lambda *_: None)


def read() -> dict:
    return yaml.load(TEMPLATE.read_text(), Intrinsics)


def parameters(template: dict) -> dict[str, dict]:
    """Each parameter's definition; values in it are texts, as CloudFormation takes them."""
    return {
        name: {**definition, "Default": str(definition["Default"])}
        for name, definition in template["Parameters"].items()
    }


def kept(template: dict) -> list[str]:
    """The resources that outlive their stack."""
    return [
        name
        for name, resource in template["Resources"].items()
        if resource.get("DeletionPolicy", "").startswith("Retain")
    ]
