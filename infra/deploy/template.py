"""Parameters and kept resources, as infra/template.yaml has them."""

from pathlib import Path

import yaml

PROJECT = Path(__file__).resolve().parents[2]
TEMPLATE = PROJECT / "infra/template.yaml"


class Intrinsics(yaml.SafeLoader):
    """A reader of YAML that passes over !Ref and the like."""


Intrinsics.add_multi_constructor("!", lambda *_: None)


def read() -> dict:
    return yaml.load(TEMPLATE.read_text(), Intrinsics)


def parameters(template: dict) -> dict[str, dict]:
    """Definitions of the parameters. Defaults are texts, as CloudFormation takes them."""
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
